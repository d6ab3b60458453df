import { FloodgateError } from '../base/errors.ts';
import type { RandomStream } from '../base/random.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { normalQuantile } from './quantiles.ts';
import { finishSteps, oneStep, type Steps } from './steps.ts';

export interface SubsamplingOptions {
  /** Attacks at which the statistic is wanted, at most all of them. */
  readonly size: number;
  readonly stream: RandomStream;
  readonly draws?: number;
  readonly confidence?: number;
  /** Bounds that the statistic cannot leave, e.g. [0, 1]. */
  readonly bounds?: readonly [number, number];
}

const UNBOUNDED = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] as const;

/** Enough for the standard deviation, and so the width of the interval, to about 10%. */
const DEFAULT_DRAWS = 50;

/** `size` of the indices 0..total-1, drawn without replacement. They ascend, for statistics that depend on order. */
export function subsample(total: number, size: number, stream: RandomStream): number[] {
  const indices = Array.from({ length: total }, (_, index) => index);
  return stream
    .shuffle(indices)
    .slice(0, size)
    .sort((a, b) => a - b);
}

/**
 * A diversity statistic at `size` of `total` attacks, with an interval. Diversity depends on the number of attacks, and
 * the doubles of a bootstrap bias it, so only subsets without replacement are used.
 * Value: the statistic of all attacks at size = total, otherwise its mean over draws of `size`.
 * Interval: value +- z * relative standard deviation of draws of m = min(size, total / 2) * value. Without replacement,
 * the relative variance of such a draw is (1 - m / total) / m of the per-attack one; 1 / size is wanted. The deviation is
 * scaled by sqrt((m / size) / (1 - m / total)): at size = total, the delete-half jackknife of Shao and Wu.
 * The interval covers the sampling of attacks, not of training seeds. A statistic that is 0 in every draw has none.
 * `statistic` receives ascending indices and returns null where it is undefined.
 * @throws FloodgateError `usage` when size is not in 1..total.
 */
export function measureAtSize(
  total: number,
  options: SubsamplingOptions,
  statistic: (indices: readonly number[]) => number | null,
): Measure {
  return finishSteps(measureAtSizeInSteps(total, options, (indices) => oneStep(() => statistic(indices))));
}

/** `measureAtSize`, which may pause wherever its statistic does. */
export function* measureAtSizeInSteps(
  total: number,
  options: SubsamplingOptions,
  statistic: (indices: readonly number[]) => Steps<number | null>,
): Steps<Measure> {
  const { size, stream, draws = DEFAULT_DRAWS, confidence = DEFAULT_CONFIDENCE, bounds = UNBOUNDED } = options;
  if (!(Number.isSafeInteger(size) && size >= 1 && size <= total)) {
    throw new FloodgateError('usage', `measure at size: size is invalid, got ${size}, expected 1..${total}`);
  }
  const drawMany = function* (m: number): Steps<number[]> {
    const values: (number | null)[] = [];
    for (let draw = 0; draw < draws; draw++) {
      values.push(yield* statistic(subsample(total, m, stream)));
      yield;
    }
    return values.filter((value) => value !== null && Number.isFinite(value)) as number[];
  };
  const spreadSize = Math.min(size, Math.max(1, Math.floor(total / 2)));
  const spread = yield* drawMany(spreadSize);
  const valueAtSize = function* (): Steps<number | null> {
    if (size === total) return yield* statistic(subsample(total, total, stream));
    return meanOf(size === spreadSize ? spread : yield* drawMany(size));
  };
  const value = yield* valueAtSize();
  const method = `at ${size} of ${total} attacks, ${draws} subsamples of ${spreadSize}`;
  const centre = meanOf(spread);
  const isKnown = value !== null && centre !== null && centre !== 0 && spread.length >= 2 && total >= 2;
  if (!isKnown) return pointMeasure(value, size, method);
  const deviation = Math.sqrt(spread.reduce((sum, x) => sum + (x - centre) ** 2, 0) / (spread.length - 1));
  const scale = Math.sqrt(spreadSize / size / (1 - spreadSize / total));
  const half = normalQuantile((1 + confidence) / 2) * scale * Math.abs((deviation / centre) * value);
  const low = Math.max(bounds[0], value - half);
  const high = Math.min(bounds[1], value + half);
  return intervalMeasure({ value, low, high, n: size, method, confidence });
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
