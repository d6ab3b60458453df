import { z } from 'zod';
import { count, nonNegative, positive, positiveCount, share } from './config-fields.ts';

const score = z
  .enum(['meanUnsafe', 'logS', 'logR'])
  .default('meanUnsafe')
  .describe('what the judge is worth: mean P(unsafe); log S / gflownet.beta; the whole log R of the GFlowNet');

/** Keys that both methods have; every update's attacks are fresh, at temperature 1. */
const common = (defaults: { readonly batchSize: number; readonly learningRate: number }) => ({
  updates: positiveCount
    .max(10_000_000)
    .optional()
    .describe('as many as make the target calls of the GFlowNet stage when absent'),
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
    .describe('updates between two checkpoints; a kill costs at most so many'),
});

/** REINFORCE with a baseline and a KL penalty. */
export const reinforceSection = z
  .strictObject({
    ...common({ batchSize: 64, learningRate: 1e-4 }),
    baseline: z
      .enum(['leave-one-out', 'running-mean'])
      .default('leave-one-out')
      .describe("what is subtracted from the reward: mean of the update's other attacks, or of earlier updates"),
    baselineDecay: share.lt(1).default(0.9).describe('running-mean: weight of the earlier updates'),
    normaliseAdvantages: z
      .boolean()
      .default(true)
      .describe("divides advantages by the standard deviation of the update's rewards"),
    entropy: nonNegative.default(0).describe('weight of the bonus -log pi'),
  })
  .prefault({})
  .describe('attacker reinforce: policy gradient on the reward');

const novelty = z
  .strictObject({
    selfBleu: nonNegative.default(0.5).describe('weight of the mean of BLEU-2..5 against everything written before'),
    cosine: nonNegative.default(1).describe('weight of the mean embedding cosine to everything written before'),
    groupSize: positiveCount
      .max(65_536)
      .default(8)
      .describe('attacks that are measured together before they join the history'),
    gibberish: nonNegative.default(1).describe('penalty on an attack that the reference finds improbable'),
    gibberishThreshold: z
      .number()
      .max(0)
      .default(-7)
      .describe('mean log p_ref per token (nats) below which an attack counts as gibberish'),
  })
  .prefault({})
  .describe('what is added to the judge (curiosity-driven red-teaming)');

const adaptiveKl = z
  .strictObject({
    targetKl: positive.describe('mean of log pi - log p_ref aimed at, nats'),
    horizon: positive.default(10_000).describe('attacks over which the weight may move by a fifth'),
  })
  .optional()
  .describe('moves kl towards a target; kl stays as it is when absent');

/** PPO with novelty rewards; defaults of the curiosity work. */
export const ppoSection = z
  .strictObject({
    ...common({ batchSize: 128, learningRate: 3e-5 }),
    minibatchSize: positiveCount.max(65_536).default(64).describe('attacks of one optimizer step'),
    epochs: positiveCount.max(100).default(4).describe("passes over an update's attacks"),
    clipRange: positive
      .max(1)
      .default(0.2)
      .describe('the probability ratio is clipped to 1 - clipRange .. 1 + clipRange'),
    valueClipRange: positive
      .nullable()
      .default(0.2)
      .describe('values are clipped to so much around their old value; null = not at all'),
    valueWeight: nonNegative.default(1).describe('weight of the value loss'),
    valueLearningRate: positive.optional().describe('of the value head; learningRate when absent'),
    stopValueGradient: z.boolean().default(false).describe('the value loss moves its head only'),
    discount: share.default(1).describe('over tokens'),
    lambda: share.default(0.95).describe('of the generalised advantage estimate'),
    whitenAdvantages: z.boolean().default(true).describe('moves advantages to mean 0 and variance 1'),
    adaptiveKl,
    entropy: nonNegative.default(0.01).describe('weight of the bonus -log pi, at every token'),
    rewardClip: positive.default(10).describe("largest size of an attack's reward"),
    novelty,
  })
  .prefault({})
  .describe('attacker ppo: clipped policy gradient with a value head, rewarded for novelty');
