import { z } from 'zod';
import { count, nonNegative, positive, positiveCount, schedule, share } from './config-fields.ts';

const fluency = z
  .strictObject({
    form: z.enum(['sum', 'mean', 'min-k-gate']).default('sum').describe('how log p_ref enters the reward'),
    k: positiveCount.default(7).describe('min-k-gate: how many of the lowest token log-probs are averaged'),
    threshold: z.number().default(-10).describe('min-k-gate: the average (nats) below which the gate closes'),
    penalty: z.number().max(0).default(-300).describe('min-k-gate: the term (nats) of a closed gate'),
    shortPenalty: z
      .number()
      .max(0)
      .default(-500)
      .describe('the term (nats) of an attack under attacker.minTokens, whatever the form'),
  })
  .prefault({})
  .describe('keeps attacks readable: without it the attacker finds gibberish that fools the judge');

const reward = {
  beta: positive.default(0.1).describe('weight of the judge: log S enters as log S / beta'),
  gamma: schedule(1, 1, 2000).describe('log p_ref enters as log p_ref / gamma'),
  temperature: schedule(2, 1, 1000).describe('reward temperature T: log R = (...) / T'),
  fluency,
  unsafeFloor: share
    .min(1e-12)
    .max(0.1)
    .default(1e-6)
    .describe('smallest P(unsafe) that enters a logarithm; recorded in the manifest'),
  truncationPenalty: z
    .boolean()
    .default(false)
    .describe('adds log p_ref(end) to the reward of an attack cut at attacker.maxTokens'),
};

const sampling = z
  .strictObject({
    freshShare: share.default(0.5).describe('share of each batch that the attacker writes; the rest is replay'),
    temperedShare: share.default(0.5).describe('share of the fresh attacks drawn at a temperature from `temperatures`'),
    temperatures: z
      .strictObject({
        low: positive.default(0.5).describe('lower end'),
        high: positive.default(2).describe('upper end'),
      })
      .prefault({})
      .describe('range of the uniform draw of a tempered attack'),
  })
  .prefault({})
  .describe('behaviour policy: where the attacks of a batch come from');

const nearDuplicate = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('edit').describe('token edit distance'),
      threshold: z
        .number()
        .min(0)
        .max(1)
        .default(0.25)
        .describe('near when distance < threshold * (|a| + |b|), in tokens'),
    }),
    z.strictObject({
      kind: z.literal('cosine').describe('similarity of sentence embeddings'),
      threshold: z.number().min(-1).max(1).default(0.4).describe('near when cosine similarity > threshold'),
    }),
    z.strictObject({ kind: z.literal('none').describe('exact duplicates only') }),
  ])
  .prefault({ kind: 'edit' })
  .describe('a near-duplicate replaces its nearest neighbour only when its reward is higher');

const replay = z
  .strictObject({
    capacity: positiveCount.max(1_000_000).default(1000).describe('attacks the replay buffer holds'),
    draw: z.enum(['logS', 'logR', 'uniform']).default('logS').describe('what the softmax of the draw is over'),
    evictBy: z.enum(['logR', 'logS']).default('logR').describe('which reward decides what a full buffer drops'),
    nearDuplicate,
    rescore: z
      .boolean()
      .default(false)
      .describe('new responses for replayed attacks; their rewards average over all responses so far'),
    seedWithSft: z.boolean().default(true).describe('put the seed attacks into the buffer before the first update'),
    seedWithReference: count
      .default(0)
      .describe('attacks of the reference put into the buffer before the first update'),
  })
  .prefault({})
  .describe('attacks seen before, drawn again');

const ctb = z
  .strictObject({
    sigma: nonNegative.default(0.1).describe('pairs with |log R_i - log R_j| below it are masked'),
    huber: positive.default(1).describe('delta of the Huber loss'),
    onPolicyShare: share
      .default(2 / 3)
      .describe('share of each batch that the attacker writes, in place of sampling.freshShare'),
  })
  .prefault({})
  .describe('settings of objective ctb');

const evaluation = z
  .strictObject({
    everyUpdates: count.default(100).describe('updates between two small held-out evaluations; 0 = never'),
    attacks: positiveCount.default(64).describe('attacks of each'),
  })
  .prefault({})
  .describe('picks the best checkpoint by ASR x unique attacks');

const collapseAlarm = z
  .strictObject({
    enabled: z.boolean().default(true).describe('watch for collapse at each small evaluation'),
    dropShare: share
      .default(0.5)
      .describe('alarm when unique attacks of an evaluation fall below this share of the best so far'),
    stopEarly: z.boolean().default(false).describe('an alarm ends the stage; the best checkpoint is kept'),
  })
  .prefault({})
  .describe('tells when the attacker falls back on few attacks');

const earlyStop = z
  .strictObject({
    enabled: z.boolean().default(false).describe('stop when nothing gets better'),
    patience: positiveCount
      .default(5)
      .describe('evaluations without a better ASR x unique attacks before the stage ends'),
  })
  .prefault({})
  .describe('ends the stage early');

/** The GFlowNet stage: objective, optimizer, reward, behaviour policy, replay buffer. */
export const gflownetSection = z
  .strictObject({
    objective: z
      .enum(['tb', 'vargrad', 'ctb'])
      .default('tb')
      .describe('tb: trajectory balance (the paper); vargrad: log Z from the batch; ctb: pairwise, noise-gated'),
    updates: positiveCount.max(10_000_000).default(5000).describe('optimizer updates'),
    batchSize: positiveCount.max(65_536).default(16).describe('attacks of one micro-batch'),
    accumulation: positiveCount.max(65_536).default(8).describe('micro-batches of one update'),
    learningRate: positive.default(1e-4).describe('after the warm-up'),
    logZLearningRate: positive.optional().describe('of the logZ head (tb); learningRate when absent'),
    stopLogZGradient: z.boolean().default(false).describe('tb: no gradient from logZ into the adapters'),
    warmupUpdates: count.default(100).describe('updates of linear learning-rate warm-up'),
    decay: z.enum(['constant', 'linear']).default('constant').describe('learning rate after the warm-up'),
    decayFrom: share.default(0).describe('linear decay begins after this share of the updates'),
    weightDecay: nonNegative.default(0).describe('decoupled decay of AdamW'),
    gradientClip: positive.default(1).describe('largest global norm of the gradient'),
    ...reward,
    sampling,
    replay,
    ctb,
    evaluation,
    collapseAlarm,
    earlyStop,
    checkpointEveryUpdates: positiveCount
      .default(10)
      .describe('updates between two checkpoints; a kill costs at most so many'),
  })
  .prefault({})
  .describe('the stage that learns to sample attacks in proportion to their reward');
