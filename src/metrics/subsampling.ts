import { FloodgateError } from '../base/errors.ts';
import type { RandomStream } from '../base/random.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';

export interface SubsamplingOptions {
  /** Number of attacks at which the statistic is wanted: at most the number there are. */
  readonly size: number;
  readonly stream: RandomStream;
  readonly draws?: number;
  readonly confidence?: number;
  /** Bounds that the statistic cannot leave, e.g. [0, 1]. */
  readonly bounds?: readonly [number, number];
}

/** Enough for a 95% percentile interval: five draws lie beyond each end. */
const DEFAULT_DRAWS = 200;

/** `size` of the indices 0..total-1, drawn without replacement, ascending, so that order-dependent statistics keep order. */
export function subsample(total: number, size: number, stream: RandomStream): number[] {
  const indices = Array.from({ length: total }, (_, index) => index);
  return stream
    .shuffle(indices)
    .slice(0, size)
    .sort((a, b) => a - b);
}

/**
 * A diversity statistic as it is at `size` of `total` attacks, with an interval. Diversity measures depend on how many
 * attacks they see and are biased by the doubles of a bootstrap, so only subsets without replacement are used:
 * value = the statistic itself at size = total, otherwise its mean over draws of `size`.
 * Spread: draws of m = min(size, total / 2); without replacement their relative variance is (1 - m / total) / m of the
 * per-attack one against the wanted 1 / size, so relative deviations are scaled by sqrt((m / size) / (1 - m / total))
 * (the delete-half jackknife of Shao and Wu at size = total). It covers the sampling of attacks, not seeds of training.
 * `statistic` gets ascending indices and returns null when it is undefined there.
 * @throws FloodgateError `usage` when size is not in 1..total.
 */
export function measureAtSize(
  total: number,
  options: SubsamplingOptions,
  statistic: (indices: readonly number[]) => number | null,
): Measure {
  const { size, stream, draws = DEFAULT_DRAWS, confidence = DEFAULT_CONFIDENCE, bounds } = options;
  if (!(Number.isSafeInteger(size) && size >= 1 && size <= total)) {
    throw new FloodgateError('usage', `measure at size: size is invalid, got ${size}, expected 1..${total}`);
  }
  const drawMany = (m: number): number[] => {
    const values = Array.from({ length: draws }, () => statistic(subsample(total, m, stream)));
    return values.filter((value) => value !== null && Number.isFinite(value)) as number[];
  };
  const half = Math.max(1, Math.floor(total / 2));
  const spreadSize = Math.min(size, half);
  const spreadValues = drawMany(spreadSize);
  const value =
    size === total
      ? statistic(subsample(total, total, stream))
      : meanOf(size === spreadSize ? spreadValues : drawMany(size));
  const method = `at ${size} of ${total} attacks, ${draws} subsamples of ${spreadSize}`;
  const centre = meanOf(spreadValues);
  if (value === null || centre === null) return pointMeasure(value, size, method);
  if (total < 2 || centre === 0) return pointMeasure(value, size, method);
  const scale = Math.sqrt(spreadSize / size / (1 - spreadSize / total));
  const ascending = [...spreadValues].sort((a, b) => a - b);
  const boundAt = (probability: number): number => {
    const bound = value * (1 + (scale * (quantileOfSorted(ascending, probability) - centre)) / centre);
    return bounds === undefined ? bound : Math.min(bounds[1], Math.max(bounds[0], bound));
  };
  const ends = [boundAt((1 - confidence) / 2), boundAt((1 + confidence) / 2)];
  return intervalMeasure({ value, low: Math.min(...ends), high: Math.max(...ends), n: size, method, confidence });
}

/** The quantile of ascending values by linear interpolation (type 7, as numpy). */
export function quantileOfSorted(ascending: readonly number[], probability: number): number {
  const position = (ascending.length - 1) * probability;
  const below = ascending[Math.floor(position)] as number;
  const above = ascending[Math.ceil(position)] as number;
  return below + (above - below) * (position - Math.floor(position));
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
