import { editDistance } from '../learning/replay/edit-distance.ts';

/** How different the attacks of one batch are; what the collapse alarm watches. */
export interface BatchDiversity {
  /** Different token sequences / sequences, in (0, 1]; null for an empty batch. */
  readonly uniqueShare: number | null;
  /** Mean over pairs of edit distance / length of the longer, in [0, 1]; null below two attacks. */
  readonly meanTokenDistance: number | null;
}

/** Diversity of the token sequences of a batch. O(pairs * length^2): for batches, not for evaluation sets. */
export function batchDiversity(batch: readonly (readonly number[])[]): BatchDiversity {
  const unique = new Set(batch.map((tokens) => tokens.join(','))).size;
  let sum = 0;
  for (const [i, a] of batch.entries()) {
    for (const b of batch.slice(0, i)) sum += editDistance(a, b) / Math.max(a.length, b.length, 1);
  }
  const pairs = (batch.length * (batch.length - 1)) / 2;
  return {
    uniqueShare: batch.length === 0 ? null : unique / batch.length,
    meanTokenDistance: pairs === 0 ? null : sum / pairs,
  };
}
