import type { Config } from '../../src/stages/config/config.ts';
import type { AttackerName } from '../attackers.ts';
import { smallWorldConfig } from '../small-worlds/small-world.ts';

/** Seeds of synthetic worlds in which settings for few calls are chosen; they judge nothing. */
export const SEARCH_SEED = 3000;
/** Seeds of synthetic worlds that judge the chosen settings. */
export const JUDGING_SEED = 4000;

const KEYS = 48;
/** Attacks of one update, of any attacker that is trained. */
const BATCH = 64;
/** Fresh attacks of one batch of the GFlowNet; each draws one response. */
const FRESH = 32;
/** Share of the calls that goes into attacks of the reference, before the first update. */
const SEEDED_SHARE = 0.2;

/** One choice of settings for attackers, at equal target calls. */
export interface Setting {
  readonly name: string;
  readonly attackers: readonly AttackerName[];
  readonly overrides: readonly string[];
  /** Updates of the GFlowNet for each batch of fresh attacks. */
  readonly updatesPerBatch: number;
}

const OURS: readonly AttackerName[] = ['gflownet', 'smoothing'];

const ours = (name: string, updatesPerBatch: number, ...overrides: readonly string[]): Setting => ({
  name,
  attackers: OURS,
  overrides,
  updatesPerBatch,
});

/** The ablation of the learner, each over `updates-4`; the baselines beside it. */
export const SETTINGS: readonly Setting[] = [
  ours('updates-1', 1),
  ours('updates-4', 4),
  ours('updates-8', 8),
  ours('rewrites', 4, 'gflownet.sampling.rewriteShare=0.25'),
  ours('spread-1', 4, 'gflownet.spread.eta=1'),
  ours('spread-half', 4, 'gflownet.spread.eta=0.5'),
  ours('screen', 4, 'gflownet.screen.candidates=8'),
  ours('cycles', 4, 'gflownet.cycles={count: 4, updates: 200, learningRate: 1e-3}'),
  ours('cycles-spread', 4, 'gflownet.cycles={count: 4, updates: 200, learningRate: 1e-3}', 'gflownet.spread.eta=1'),
  ours('capped', 4, 'reward.fluency.form=capped'),
  ours('floor-0.01', 4, 'reward.unsafeFloor=0.01'),
  ours('untempered', 4, 'gflownet.sampling.temperedShare=0'),
  ours('uniform-draw', 4, 'gflownet.replay.draw=uniform'),
  {
    name: 'baselines',
    attackers: ['sft', 'reinforce', 'reinforce-smoothing', 'ppo', 'ppo-smoothing', 'best-of-n'],
    overrides: [],
    updatesPerBatch: 1,
  },
];

/**
 * The run of one setting that asks the target about `calls` attacks, one response each: the GFlowNet in its batches and
 * the reference's attacks before them, REINFORCE and PPO in their updates, best-of-n in its draws. Re-scoring is off, so
 * smoothing adds no call.
 */
export function fewCallsConfig(setting: Setting, calls: number, seed: number, worldSeed: number): Config {
  const seeded = Math.round(calls * SEEDED_SHARE);
  const batches = Math.max(1, Math.floor((calls - seeded) / FRESH));
  const rlUpdates = Math.max(1, Math.floor(calls / BATCH));
  return smallWorldConfig({
    purpose: `few calls, ${setting.name}`,
    seed,
    worldSeed,
    attackers: setting.attackers,
    overrides: [
      `world.keys=${KEYS}`,
      'target.responses=1',
      'smoothing.rescore=false',
      `gflownet.replay.seedWithReference=${seeded}`,
      `gflownet.updatesPerBatch=${setting.updatesPerBatch}`,
      `gflownet.updates=${batches * setting.updatesPerBatch}`,
      `reinforce.updates=${rlUpdates}`,
      `ppo.updates=${rlUpdates}`,
      `bestOfN.targetCalls=${calls}`,
      ...setting.overrides,
    ],
  });
}
