export interface LearningRateRule {
  readonly peak: number;
  /** Updates of linear warm-up. */
  readonly warmupUpdates: number;
  readonly decay: 'constant' | 'linear';
  readonly totalUpdates: number;
}

/** Learning rate of `update`, counted from 0 in optimizer updates, never in micro-batches. */
export function learningRateAt({ peak, warmupUpdates, decay, totalUpdates }: LearningRateRule, update: number): number {
  const warm = warmupUpdates === 0 ? 1 : Math.min(1, (update + 1) / warmupUpdates);
  if (decay === 'constant') return peak * warm;
  const remaining = (totalUpdates - update) / Math.max(1, totalUpdates - warmupUpdates);
  return peak * Math.min(warm, remaining);
}
