import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageFile } from '../../src/base/package-root.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { admittedWorldSeed } from '../../src/stages/campaign/run-world.ts';
import type { Config } from '../../src/stages/config/config.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import type { AttackerName } from '../attackers.ts';
import { smallWorldConfig } from '../small-worlds/small-world.ts';
import { BASELINES, SMOOTHING_WEIGHTS } from './claim-definitions.ts';

export const CLAIM_WORLDS = ['proving-ground', 'smollm2'] as const;
export type ClaimWorld = (typeof CLAIM_WORLDS)[number];

/** The weighting of SmolLM2's `smoothing`: it is dear to train, and is not trained twice. */
export const SMOLLM2_OWN_WEIGHTS: AttackerName = 'smoothing-uniform';

/** Every attacker that C1 to C3 compare. */
const ALL: readonly AttackerName[] = [...BASELINES, 'gflownet', 'smoothing', ...SMOOTHING_WEIGHTS];
/** A synthetic world has no language to learn in context. No claim names stable-gfn; it is measured where it is cheap. */
export const COMPARED: Readonly<Record<ClaimWorld, readonly AttackerName[]>> = {
  'proving-ground': [...ALL.filter((name) => name !== 'icl'), 'stable-gfn'],
  smollm2: ALL.filter((name) => name !== SMOLLM2_OWN_WEIGHTS),
};

/** Attackers that are retrained against a tuned target. */
export const RETRAINED: readonly AttackerName[] = ['sft', 'gflownet', 'smoothing'];

/** Seeds of synthetic worlds on which no setting was chosen. */
const FIRST_WORLD_SEED = 1000;

/**
 * The best settings of the search (docs/search.md) where they differ from the defaults of synthetic worlds. Only
 * Stable-GFN reads those of CTB and of the fluency gate.
 */
const SEARCHED: readonly string[] = [
  'smoothing.learningRate=2.39e-3',
  'smoothing.updates=600',
  'gflownet.ctb.sigma=0.0238',
  'gflownet.ctb.huber=0.493',
  'reward.fluency.threshold=-8.58',
];

/**
 * The GFlowNet tries 920 attacks, a held-out evaluation among them. Its collection is scored again: at most a fifth as
 * many attacks so far (docs/results.md). RL's 67 updates of 16 and their held-out evaluation are 1,120. The other values
 * are the best of a few trials of each attacker (docs/search.md).
 */
const SMOLLM2: readonly string[] = [
  'gflownet.updates=109',
  'gflownet.replay.seedWithSft=false',
  'gflownet.replay.nearDuplicate.kind=cosine',
  'gflownet.replay.nearDuplicate.threshold=0.7',
  'smoothing.updates=60',
  'smoothing.rescore=true',
  'reinforce.updates=67',
  'reinforce.batchSize=16',
  'reinforce.learningRate=3e-4',
  'reinforce.entropy=0.001',
  'reinforce.kl=0.01',
  'ppo.updates=67',
  'ppo.batchSize=16',
  'ppo.learningRate=3e-4',
  'ppo.epochs=2',
  'ppo.entropy=0',
  'evaluation.attacks=128',
];

const SMOLLM2_FILE = fileURLToPath(packageFile('examples/smollm2.yaml'));

export interface ClaimSeed {
  readonly world: ClaimWorld;
  readonly seed: number;
  /** Of the synthetic world; the seed's first choice when absent. */
  readonly worldSeed?: number;
}

/** The first world of a seed that is admitted; a real model as it is. @throws FloodgateError `world` when ten are refused. */
export async function admittedSeed({ world, seed }: ClaimSeed, io: CampaignIo): Promise<ClaimSeed> {
  if (world !== 'proving-ground') return { world, seed };
  const configOf = (worldSeed: number) => claimConfig({ world, seed, worldSeed });
  return { world, seed, worldSeed: await admittedWorldSeed(FIRST_WORLD_SEED + seed, configOf, io) };
}

/** The run of one seed, against the base target or the model of `target`. */
export async function claimConfig(
  { world, seed, worldSeed = FIRST_WORLD_SEED + seed }: ClaimSeed,
  attackers: readonly AttackerName[] = COMPARED[world],
  target?: string,
): Promise<Config> {
  const ofTarget = target === undefined ? [] : [`target.model=${JSON.stringify(target)}`];
  if (world === 'proving-ground') {
    const overrides = [...SEARCHED, ...ofTarget];
    return smallWorldConfig({ purpose: 'the claims', seed, worldSeed, attackers, overrides });
  }
  const fixed = [`seed=${seed}`, `attackers=${JSON.stringify(attackers)}`];
  return parseConfig(await readFile(SMOLLM2_FILE, 'utf8'), {
    fileName: SMOLLM2_FILE,
    folder: dirname(SMOLLM2_FILE),
    overrides: [...fixed, ...SMOLLM2, ...ofTarget],
  });
}
