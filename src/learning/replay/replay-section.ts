import { z } from 'zod';
import { count, positiveCount } from '../../base/config-fields.ts';
import type { ReplayBufferOptions } from './replay-entry.ts';

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

/** Keys of a replay buffer in a config. */
export const replaySection = z
  .strictObject({
    capacity: positiveCount.max(1_000_000).default(1000).describe('attacks the replay buffer holds'),
    draw: z.enum(['logS', 'logR', 'uniform']).default('logS').describe('the draw is by a softmax of this value'),
    evictBy: z.enum(['logR', 'logS']).default('logR').describe('which reward decides what a full buffer drops'),
    nearDuplicate,
    rescore: z
      .boolean()
      .default(false)
      .describe('new responses for replayed attacks; their rewards average over all responses so far'),
    seedWithSft: z.boolean().default(true).describe('put the seed attacks into the buffer before the first update'),
    seedWithReference: count
      .default(0)
      .describe('attacks of the reference to put into the buffer before the first update'),
  })
  .prefault({})
  .describe('attacks seen before, drawn again');

export type ReplaySettings = z.output<typeof replaySection>;

/** The replay buffer's rules as the config has them. */
export function bufferOptions({ capacity, evictBy, nearDuplicate }: ReplaySettings): Partial<ReplayBufferOptions> {
  return {
    capacity,
    evictBy: evictBy === 'logS' ? 'judge' : 'reward',
    nearEditRatio: nearDuplicate.kind === 'edit' ? nearDuplicate.threshold : null,
    nearCosine: nearDuplicate.kind === 'cosine' ? nearDuplicate.threshold : null,
  };
}

const REPLAY_BY = { logS: 'judge', logR: 'reward', uniform: 'uniform' } as const;

/** The weights of the draw from the buffer. */
export function replayBy({ draw }: ReplaySettings): 'judge' | 'reward' | 'uniform' {
  return REPLAY_BY[draw];
}
