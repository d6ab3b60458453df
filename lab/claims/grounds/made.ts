import { WORLD_TUNING } from '../../../src/studies/robustness/target-versions.ts';
import { CHOSEN, fewCallsConfig, settingNamed } from '../../few-calls/settings.ts';
import { type ArmName, BASELINE_ARM, BUDGETS, DRAWS_ARM, type Ground, OURS_ARM } from './ground.ts';

const SETTING: Readonly<Record<Exclude<ArmName, 'today'>, string>> = {
  ours: CHOSEN.worlds,
  baselines: 'baselines',
  draws: 'draws',
  reference: 'reference-loop',
};

/**
 * The best settings of the search (docs/search.md) where they differ from the defaults of synthetic worlds, for every
 * attacker that is smoothed. Only Stable-GFN reads those of CTB and of the fluency gate.
 */
const SEARCHED: readonly string[] = [
  'smoothing.learningRate=4e-3',
  'smoothing.updates=1000',
  'smoothing.decay=linear',
  'smoothing.balance=0.8',
  'gflownet.ctb.sigma=0.0238',
  'gflownet.ctb.huber=0.493',
  'reward.fluency.threshold=-8.58',
];

/** Synthetic worlds of 48 planted keys. */
export const made: Ground = {
  name: 'made',
  describe: 'synthetic worlds of 48 planted keys',
  kind: 'world',
  budgets: BUDGETS,
  seeds: 10,
  // Settings for fewer calls were chosen after the worlds from 8000 on had been seen.
  firstWorldSeed: (budget) => (budget < 10_000 ? 9200 : 8000),
  arms: {
    ours: [...OURS_ARM, 'smoothing-uniform', 'smoothing-reward'],
    baselines: BASELINE_ARM,
    draws: DRAWS_ARM,
    reference: OURS_ARM,
  },
  ownWeights: 'smoothing-balanced',
  config: async ({ arm, seed, budget, worldSeed, threads, attackers, targetModel }) => {
    const setting = settingNamed(SETTING[arm as keyof typeof SETTING]);
    const overrides = [
      ...SEARCHED,
      ...setting.overrides,
      `threads=${threads}`,
      ...(targetModel === undefined ? [] : [`target.model=${JSON.stringify(targetModel)}`]),
    ];
    const ofArm = attackers ?? made.arms[arm] ?? [];
    return fewCallsConfig({ ...setting, attackers: ofArm, overrides }, budget, seed, worldSeed ?? 0);
  },
  targets: {
    further: [
      { kind: 'world', name: 'gpt2-half', family: 'gpt2', size: 'small', share: 0.5, seed: 1 },
      { kind: 'world', name: 'qwen-half', family: 'qwen', size: 'small', share: 0.5, seed: 2 },
    ],
    asked: {},
    tuning: WORLD_TUNING,
  },
};
