import { FloodgateError } from '../../src/base/errors.ts';
import type { Config } from '../../src/stages/config/config.ts';
import type { AttackerName } from '../attackers.ts';
import { smallWorldConfig } from '../small-worlds/small-world.ts';

/** Seeds of synthetic worlds in which settings for few calls are chosen; they judge nothing. */
export const SEARCH_SEED = 3000;
/** Seeds of synthetic worlds that judge the chosen settings. */
export const JUDGING_SEED = 4000;

const KEYS = 48;
/** Attacks of one update of REINFORCE and PPO; smaller where so large a batch leaves no updates to learn from. */
const batchOf = (calls: number): number => (calls < 1500 ? 16 : 64);
/** Warm-up of every attacker in synthetic worlds; a shorter stage has a quarter of its updates. */
const WARMUP = 20;
const warmupOf = (updates: number): number => (updates < WARMUP ? Math.floor(updates / 4) : WARMUP);
/** Fresh attacks of one batch of the GFlowNet; each draws one response. */
const FRESH = 32;
/** Share of the calls that goes into attacks of the reference, before the first update, unless a setting says more. */
const SEEDED_SHARE = 0.2;

/** Draws of the reference from which the first attacks are chosen, whatever the calls: a draw costs no call. */
const POOL = 192_000;

/** One choice of settings for attackers, at equal target calls. */
export interface Setting {
  readonly name: string;
  readonly attackers: readonly AttackerName[];
  readonly overrides: readonly string[];
  /** Updates of the GFlowNet for each batch of fresh attacks. */
  readonly updatesPerBatch: number;
  /** Responses to each attack while an attacker learns; 1 when absent. */
  readonly responses?: number;
  readonly seededShare?: number;
  /** Attacks of the reference that are drawn, of which those that cover most are tried; absent: none beyond those. */
  readonly pool?: number;
}

/**
 * The settings of the GFlowNet that the claims judge, chosen in the worlds of the search: one row of `SETTINGS` for
 * synthetic worlds, one for language models against models, and one for language models against the rule of a language
 * world, whose reward has no slope that leads to a way.
 */
export const CHOSEN = { worlds: 'pool-60', models: 'spread-1', language: 'spread-meaning-60' } as const;

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
  {
    ...ours(
      'spread-words-60',
      4,
      'gflownet.spread.eta=1',
      'gflownet.replay.seedCandidates=8',
      'gflownet.replay.seedCoverage=words',
    ),
    seededShare: 0.6,
  },
  {
    ...ours(
      'spread-meaning-60',
      4,
      'gflownet.spread.eta=1',
      'gflownet.replay.seedCandidates=8',
      'gflownet.replay.seedCoverage=meaning',
    ),
    seededShare: 0.6,
  },
  ours('coverage', 4, 'gflownet.replay.seedCandidates=8'),
  ours('coverage-16', 4, 'gflownet.replay.seedCandidates=16'),
  ours('coverage-8-updates', 8, 'gflownet.replay.seedCandidates=8'),
  ours('coverage-rewrites', 4, 'gflownet.replay.seedCandidates=8', 'gflownet.sampling.rewriteShare=0.25'),
  { ...ours('coverage-40', 4, 'gflownet.replay.seedCandidates=8'), seededShare: 0.4 },
  { ...ours('coverage-60', 4, 'gflownet.replay.seedCandidates=8'), seededShare: 0.6 },
  { ...ours('coverage-60-32', 4, 'gflownet.replay.seedCandidates=32'), seededShare: 0.6 },
  { ...ours('coverage-80', 4, 'gflownet.replay.seedCandidates=8'), seededShare: 0.8 },
  { ...ours('pool-40', 4), seededShare: 0.4, pool: POOL },
  { ...ours('pool-60', 4), seededShare: 0.6, pool: POOL },
  { ...ours('pool-80', 4), seededShare: 0.8, pool: POOL },
  ours('screen', 4, 'gflownet.screen.candidates=8'),
  ours('cycles', 4, 'gflownet.cycles={count: 4, updates: 200, learningRate: 1e-3}'),
  ours('cycles-spread', 4, 'gflownet.cycles={count: 4, updates: 200, learningRate: 1e-3}', 'gflownet.spread.eta=1'),
  ours('capped', 4, 'reward.fluency.form=capped'),
  ours('floor-0.01', 4, 'reward.unsafeFloor=0.01'),
  ours('untempered', 4, 'gflownet.sampling.temperedShare=0'),
  ours('uniform-draw', 4, 'gflownet.replay.draw=uniform'),
  ours('mixed-draw', 4, 'gflownet.replay.draw=mixed'),
  ours('clusters-draw', 4, 'gflownet.replay={draw: mixed, mix: {clusters: 0.5, failures: 0}}'),
  ours('huber-10', 4, 'gflownet.tb.huber=10', 'gflownet.vargrad.huber=10'),
  // About two responses an attack once every second one succeeds; the table has the calls.
  { ...ours('successive', 4, 'gflownet.responses={first: 1, most: 3}'), responses: 2 },
  { name: 'draws', attackers: ['draws-smoothing', 'covering-smoothing'], overrides: [], updatesPerBatch: 1 },
  {
    name: 'baselines',
    attackers: ['sft', 'reinforce', 'reinforce-smoothing', 'ppo', 'ppo-smoothing', 'best-of-n'],
    overrides: [],
    updatesPerBatch: 1,
  },
  // As the loop of the paper's code: half of an update is fresh, every attack is answered five times, nothing is reused.
  { name: 'reference-loop', attackers: OURS, overrides: [], updatesPerBatch: 1, responses: 5 },
];

/** The row of `SETTINGS` with this name. @throws FloodgateError `usage` for another name. */
export function settingNamed(name: string): Setting {
  const found = SETTINGS.find((setting) => setting.name === name);
  if (found !== undefined) return found;
  throw new FloodgateError('usage', `few calls: got the setting ${name}`, {
    hint: `choose of ${SETTINGS.map((setting) => setting.name).join(', ')}`,
  });
}

/**
 * The run of one setting that draws `calls` responses while it learns, one an attack unless the setting says more: the
 * GFlowNet in its batches and the reference's attacks before them, REINFORCE and PPO in their updates, best-of-n in its
 * draws. Re-scoring is off, so smoothing adds no call.
 */
export function fewCallsConfig(setting: Setting, calls: number, seed: number, worldSeed: number): Config {
  const { responses = 1, seededShare = SEEDED_SHARE, pool } = setting;
  const attacks = Math.floor(calls / responses);
  const seeded = Math.round(attacks * seededShare);
  const batches = Math.max(1, Math.floor((attacks - seeded) / FRESH));
  const updates = batches * setting.updatesPerBatch;
  const rlUpdates = Math.max(1, Math.floor(attacks / batchOf(calls)));
  return smallWorldConfig({
    purpose: `few calls, ${setting.name}`,
    seed,
    worldSeed,
    attackers: setting.attackers,
    overrides: [
      `world.keys=${KEYS}`,
      `target.responses=${responses}`,
      'smoothing.rescore=false',
      `gflownet.replay.seedWithReference=${seeded}`,
      ...(pool === undefined ? [] : [`gflownet.replay.seedCandidates=${Math.max(1, Math.round(pool / seeded))}`]),
      `gflownet.updatesPerBatch=${setting.updatesPerBatch}`,
      `gflownet.updates=${updates}`,
      `gflownet.warmupUpdates=${warmupOf(updates)}`,
      ...['reinforce', 'ppo'].flatMap((name) => [
        `${name}.batchSize=${batchOf(calls)}`,
        `${name}.warmupUpdates=${warmupOf(rlUpdates)}`,
      ]),
      `reinforce.updates=${rlUpdates}`,
      `ppo.updates=${rlUpdates}`,
      `bestOfN.targetCalls=${calls}`,
      `draws.attacks=${attacks}`,
      `draws.candidates=${Math.max(1, Math.round(POOL / attacks))}`,
      ...setting.overrides,
    ],
  });
}
