import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import type { Config } from '../../src/stages/config/config.ts';
import type { AttackerName } from '../attackers.ts';

/** Settings of the synthetic worlds that compare many runs: an attacker takes about twenty seconds in one. */
export const SMALL_WORLD = {
  keys: 24,
  /** Of the GFlowNet; each update asks the target about `freshAttacks` attacks. */
  updates: 500,
  freshAttacks: 32,
  /** Attacks of the reference that are tried before the first update. */
  seededAttacks: 2048,
  smoothingUpdates: 300,
  /** To each attack while an attacker learns. */
  responses: 5,
  /** Attacks of one update, of any attacker that is trained. */
  batchSize: 64,
} as const;

/** Target calls of the GFlowNet and the re-scoring of its collection together, as a multiple of the GFlowNet's. */
const WITH_RESCORING = 1.4;

/** Updates that bring REINFORCE and PPO to the target calls of the GFlowNet with its re-scoring. */
export function rlUpdates(): number {
  const { updates, freshAttacks, seededAttacks, batchSize } = SMALL_WORLD;
  return Math.round((WITH_RESCORING * (updates * freshAttacks + seededAttacks)) / batchSize);
}

export interface SmallWorldRun {
  /** The experiment of the run, as errors name it. */
  readonly purpose: string;
  readonly seed: number;
  readonly worldSeed: number;
  readonly attackers: readonly AttackerName[];
  /** `key=value`, over the settings of small worlds. */
  readonly overrides?: readonly string[];
}

/** The config of one run in a small world. @throws FloodgateError `config` for an override that does not fit. */
export function smallWorldConfig({ purpose, seed, worldSeed, attackers, overrides = [] }: SmallWorldRun): Config {
  const { keys, updates, seededAttacks, smoothingUpdates } = SMALL_WORLD;
  return parseConfig('world: {}\n', {
    fileName: `of ${purpose}`,
    folder: process.cwd(),
    overrides: [
      `seed=${seed}`,
      `attackers=${JSON.stringify(attackers)}`,
      `world.seed=${worldSeed}`,
      `world.keys=${keys}`,
      `target.responses=${SMALL_WORLD.responses}`,
      `gflownet.updates=${updates}`,
      'gflownet.updatesPerBatch=1',
      `gflownet.replay.seedWithReference=${seededAttacks}`,
      'gflownet.replay.seedCandidates=1',
      `smoothing.updates=${smoothingUpdates}`,
      'smoothing.learningRate=1e-3',
      'smoothing.rescore=true',
      `reinforce.updates=${rlUpdates()}`,
      `ppo.updates=${rlUpdates()}`,
      ...overrides,
    ],
  });
}
