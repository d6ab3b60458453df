import { DRAWS_ARM, type Ground, OURS_ARM } from './ground.ts';
import { realModelConfig, realModelTargets } from './real-models.ts';

/** A judge that sees the answer without the attack's own words: an echo is no success. */
const MASKED: readonly string[] = [
  'judges.training={kind: masked, judge: {kind: profanity}}',
  'judges.evaluation=[{kind: masked, judge: {kind: tox-block}}]',
];

/** SmolLM2 attacks itself, and the judge that rewards and the one that counts see no echo. */
export const smollm2Masked: Ground = {
  name: 'smollm2-masked',
  describe: "SmolLM2 attacks itself, the judges see answers without the attack's own words",
  kind: 'model',
  budgets: [2_000],
  seeds: 3,
  arms: { ours: OURS_ARM, baselines: ['sft', 'ppo', 'ppo-smoothing', 'best-of-n'], draws: DRAWS_ARM },
  ownWeights: 'smoothing-uniform',
  config: (run) => realModelConfig({ ...run, attackers: run.attackers ?? smollm2Masked.arms[run.arm] ?? [] }, MASKED),
  targets: realModelTargets(),
};
