import { BASELINE_ARM, DRAWS_ARM, type Ground, OURS_ARM } from './ground.ts';
import { realModelConfig, realModelTargets } from './real-models.ts';

/** SmolLM2 attacks itself, rewarded by the plain judge. */
export const smollm2: Ground = {
  name: 'smollm2',
  describe: 'SmolLM2 attacks itself, the plain judge rewards',
  kind: 'model',
  budgets: [500, 2_000],
  seeds: 5,
  arms: {
    ours: [...OURS_ARM, 'smoothing-balanced', 'smoothing-reward'],
    baselines: ['icl', ...BASELINE_ARM],
    draws: DRAWS_ARM,
    reference: OURS_ARM,
    today: OURS_ARM,
  },
  ownWeights: 'smoothing-uniform',
  config: (run) => realModelConfig({ ...run, attackers: run.attackers ?? smollm2.arms[run.arm] ?? [] }, []),
  targets: realModelTargets({ name: 'gemma', model: 'gemma3-270m' }),
};
