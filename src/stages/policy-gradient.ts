import { z } from 'zod';
import { count, nonNegative, positive, positiveCount, share } from '../base/config-fields.ts';
import type { PolicyGradientOptions, ScoreRule } from '../learning/loops/policy-gradient.ts';
import { referenceRule, rewardRule } from '../learning/reward/reward-section.ts';
import type { Config } from './config/config.ts';
import type { PlanContext, StageWork } from './stage.ts';
import { heldOutAttacks } from './watch.ts';

const score = z
  .enum(['meanUnsafe', 'logS', 'logR'])
  .default('meanUnsafe')
  .describe('how the judge enters the reward: mean P(unsafe); log S / reward.beta; the whole log R of section reward');

/** Keys of every policy gradient; every update's attacks are fresh, at temperature 1. */
export const policyGradientShape = (defaults: { readonly batchSize: number; readonly learningRate: number }) => ({
  updates: positiveCount
    .max(10_000_000)
    .optional()
    .describe('when absent: as many as use the target calls of the GFlowNet stage'),
  batchSize: positiveCount.max(65_536).default(defaults.batchSize).describe('attacks of one update, all fresh'),
  microBatchSize: positiveCount.max(65_536).default(16).describe('attacks of one pass; gradients add up over passes'),
  learningRate: positive.default(defaults.learningRate).describe('after the warm-up'),
  warmupUpdates: count.default(10).describe('updates of linear learning-rate warm-up'),
  decay: z.enum(['constant', 'linear']).default('constant').describe('learning rate after the warm-up'),
  decayFrom: share.default(0).describe('linear decay begins after this share of the updates'),
  weightDecay: nonNegative.default(0).describe('decoupled decay of AdamW'),
  gradientClip: positive.default(1).describe('largest global norm of the gradient'),
  score,
  kl: nonNegative.default(0.001).describe('weight of the penalty log pi - log p_ref'),
  checkpointEveryUpdates: positiveCount
    .default(10)
    .describe('updates between two checkpoints; a kill loses at most this many'),
});

type PolicyGradientSection = z.output<z.ZodObject<ReturnType<typeof policyGradientShape>>>;

/** The stage whose target calls set the budget when the config names no number of updates. */
const BUDGET_OF = 'gflownet';

/** Attacks that this many updates try, held-out evaluations included. */
function attacksOf(config: Config, batchSize: number, updates: number): number {
  return updates * batchSize + heldOutAttacks(config, updates);
}

/** Updates of a section: its own number, or as many as cost the same as the budget's stage. */
export function updatesOf(
  config: Config,
  { updates, batchSize }: Pick<PolicyGradientSection, 'updates' | 'batchSize'>,
  { workOf }: PlanContext,
): number {
  if (updates !== undefined) return updates;
  const budget = workOf(BUDGET_OF)?.tried ?? 0;
  const { everyUpdates, attacks } = config.watch;
  const heldOut = everyUpdates === 0 ? 0 : attacks / everyUpdates;
  let found = Math.max(1, Math.floor(budget / (batchSize + heldOut)));
  while (attacksOf(config, batchSize, found + 1) <= budget) found++;
  return found;
}

/** Work of a policy gradient that takes each row `epochs` times. */
export function policyGradientWork(
  config: Config,
  section: PolicyGradientSection,
  context: PlanContext,
  epochs: number,
): StageWork {
  const updates = updatesOf(config, section, context);
  const tried = attacksOf(config, section.batchSize, updates);
  const { batchSize, microBatchSize } = section;
  return { attacks: tried, tried, trainedRows: updates * batchSize * epochs, passRows: microBatchSize };
}

function scoreRule({ reward }: Config, { score: kind }: PolicyGradientSection): ScoreRule {
  switch (kind) {
    case 'meanUnsafe':
      return { kind: 'mean-unsafe' };
    case 'logS':
      return { kind: 'log-s', beta: reward.beta };
    case 'logR':
      return { kind: 'log-r', reward: rewardRule(reward) };
  }
}

/** Options that every policy gradient has, and the learning-rate rule of a peak. */
export function commonOptions(config: Config, section: PolicyGradientSection, updates: number) {
  const { batchSize, microBatchSize, warmupUpdates, decay, decayFrom, gradientClip, weightDecay, kl } = section;
  const rate = (peak: number) => ({ peak, warmupUpdates, decay, decayFrom, totalUpdates: updates });
  const shared: Omit<PolicyGradientOptions, 'learningRate'> & { readonly kl: number } = {
    updates,
    batchSize,
    microBatchSize,
    gradientClip,
    weightDecay,
    kl,
    score: scoreRule(config, section),
    ...referenceRule(config.reward, config.attacker.minTokens),
    seed: config.seed,
  };
  return { rate, shared };
}

/** How attackers that are trained for success alone learned, for the report. */
export const FOR_SUCCESS = 'first by imitating examples, then by trial and error, rewarded for success alone';
