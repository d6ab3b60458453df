export interface LearningRateRule {
  readonly peak: number;
  /** Updates of linear warm-up. */
  readonly warmupUpdates: number;
  /** After the warm-up, or after `decayFrom` where that is later: stays, or falls linearly to 0 at the end. */
  readonly decay: 'constant' | 'linear';
  /** Share of the updates, in [0, 1), before a linear decay begins; 0 when absent. */
  readonly decayFrom?: number;
  readonly totalUpdates: number;
}

/** Learning rate of `update`, counted from 0 in optimizer updates, never in micro-batches. */
export function learningRateAt(rule: LearningRateRule, update: number): number {
  const { peak, warmupUpdates, decay, decayFrom = 0, totalUpdates } = rule;
  const warm = warmupUpdates === 0 ? 1 : Math.min(1, (update + 1) / warmupUpdates);
  if (decay === 'constant') return peak * warm;
  const start = Math.max(warmupUpdates, decayFrom * totalUpdates);
  const remaining = (totalUpdates - update) / Math.max(1, totalUpdates - start);
  return peak * Math.min(warm, remaining);
}

/** A value that moves linearly from `from` to `to` over the first `updates` updates and then stays. */
export interface LinearSchedule {
  readonly from: number;
  readonly to: number;
  readonly updates: number;
}

/** The schedule's value at `update`, counted from 0. */
export function scheduleAt({ from, to, updates }: LinearSchedule, update: number): number {
  return update >= updates ? to : from + ((to - from) * update) / updates;
}
