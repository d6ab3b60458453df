import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AttackerName } from '../attackers/attacker-names.ts';
import { parseConfig } from '../config-load.ts';
import type { Config } from '../config-schema.ts';
import { BASELINES, SMOOTHING_WEIGHTS } from './claim-definitions.ts';

export const CLAIM_WORLDS = ['proving-ground', 'smollm2'] as const;
export type ClaimWorld = (typeof CLAIM_WORLDS)[number];

/** Every attacker that C1 to C3 compare. */
const COMPARED: readonly AttackerName[] = [...BASELINES, 'gflownet', 'smoothing', ...SMOOTHING_WEIGHTS, 'stable-gfn'];

/** Attackers that are trained again, against a tuned target. */
export const RETRAINED: readonly AttackerName[] = ['sft', 'gflownet', 'smoothing'];

/** Seeds of made worlds on which no setting was chosen. */
const FIRST_WORLD_SEED = 1000;

/** What GFlowNet and the re-scoring of its collection take together, as a multiple of the GFlowNet alone. */
const WITH_RESCORING = 1.4;

const SMALL_WORLD = {
  keys: 24,
  updates: 500,
  fresh: 32,
  seedWithReference: 2048,
  smoothingUpdates: 300,
  batchSize: 64,
} as const;

function smallWorld(seed: number): string[] {
  const { keys, updates, fresh, seedWithReference, smoothingUpdates, batchSize } = SMALL_WORLD;
  const rlUpdates = Math.round((WITH_RESCORING * (updates * fresh + seedWithReference)) / batchSize);
  return [
    `world.seed=${FIRST_WORLD_SEED + seed}`,
    `world.keys=${keys}`,
    `gflownet.updates=${updates}`,
    `gflownet.replay.seedWithReference=${seedWithReference}`,
    `smoothing.updates=${smoothingUpdates}`,
    `reinforce.updates=${rlUpdates}`,
    `ppo.updates=${rlUpdates}`,
  ];
}

/** SmolLM2's GFlowNet tries 8 attacks an update; held-out evaluations and re-scoring included. */
const SMOLLM2_RL_UPDATES = 150;

const SMOLLM2_FILE = fileURLToPath(new URL('../../../examples/smollm2.yaml', import.meta.url));

/** The run of one seed, against the base target or the model of `target`. */
export async function claimConfig(
  world: ClaimWorld,
  seed: number,
  attackers: readonly AttackerName[] = COMPARED,
  target?: string,
): Promise<Config> {
  const isMade = world === 'proving-ground';
  const overrides = [
    `seed=${seed}`,
    `attackers=${JSON.stringify(isMade ? attackers.filter((name) => name !== 'icl') : attackers)}`,
    ...(isMade
      ? smallWorld(seed)
      : ['smoothing.rescore=true', `reinforce.updates=${SMOLLM2_RL_UPDATES}`, `ppo.updates=${SMOLLM2_RL_UPDATES}`]),
    ...(target === undefined ? [] : [`target.model=${JSON.stringify(target)}`]),
  ];
  return isMade
    ? parseConfig('world: {}\n', { fileName: 'of the claims', folder: process.cwd(), overrides })
    : parseConfig(await readFile(SMOLLM2_FILE, 'utf8'), {
        fileName: SMOLLM2_FILE,
        folder: dirname(SMOLLM2_FILE),
        overrides,
      });
}
