import { z } from 'zod';
import { count, positiveCount, share } from '../../base/config-fields.ts';
import type { MixRule } from './mixed-draw.ts';
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

const mix = z
  .strictObject({
    clusters: share
      .default(0.5)
      .describe('share drawn from clusters of successes, so that rare wordings replay as often as common ones'),
    failures: share.default(0.25).describe('share drawn from attacks that failed: they say where not to go'),
    cosine: z.number().min(-1).max(1).default(0.75).describe('similarity above which a success joins a cluster'),
  })
  .prefault({})
  .describe('draw: mixed; the rest is drawn by log S');

/** Keys of a replay buffer in a config. */
export const replaySection = z
  .strictObject({
    capacity: positiveCount
      .max(1_000_000)
      .default(1000)
      .describe('attacks the replay buffer holds; with attacker.cells those of each cell'),
    draw: z
      .enum(['logS', 'logR', 'uniform', 'mixed'])
      .default('logS')
      .describe('the draw is by a softmax of this value; mixed: by the shares of `mix`'),
    mix,
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
    seedCandidates: positiveCount
      .max(4096)
      .default(1)
      .describe('drawn for each attack of seedWithReference; those that cover most are tried'),
    seedCoverage: z
      .enum(['words', 'meaning'])
      .default('meaning')
      .describe('of what seedCandidates cover most: runs of words, or meaning by sentence embedding'),
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

const REPLAY_BY = { logS: 'judge', logR: 'reward', uniform: 'uniform', mixed: 'judge' } as const;

/** How replayed attacks are drawn from the buffer: by one rank, or with `mix` by several. */
export function replayDraw({ draw, mix: shares }: ReplaySettings): {
  readonly replayBy: 'judge' | 'reward' | 'uniform';
  readonly mix?: MixRule;
} {
  return { replayBy: REPLAY_BY[draw], ...(draw === 'mixed' ? { mix: shares } : {}) };
}
