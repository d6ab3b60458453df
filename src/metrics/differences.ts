import { FloodgateError } from '../base/errors.ts';
import { wilsonInterval } from './intervals.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';

/** A figure with its interval, as measures and their stored forms have them. */
type Figure = Pick<Measure, 'value' | 'low' | 'high' | 'n'> & { readonly confidence?: number | null | undefined };

/**
 * `second - first` of two figures from independent samples, with an interval from their own: the distances of each
 * figure to its bounds, added as squares (Zou and Donner 2008; for shares with Wilson's intervals it is Newcombe's
 * hybrid score interval, 1998). Null where a figure is null; no interval where one has none.
 */
export function independentDifference(first: Figure, second: Figure): Measure {
  const n = first.n + second.n;
  const method = 'difference of independent figures, from their intervals';
  if (first.value === null || second.value === null) return pointMeasure(null, n, method);
  const value = second.value - first.value;
  const { low: firstLow, high: firstHigh, confidence } = first;
  const { low: secondLow, high: secondHigh } = second;
  if (firstLow === null || firstHigh === null || secondLow === null || secondHigh === null) {
    return pointMeasure(value, n, method);
  }
  return intervalMeasure({
    value,
    low: value - Math.hypot(second.value - secondLow, firstHigh - first.value),
    high: value + Math.hypot(secondHigh - second.value, first.value - firstLow),
    n,
    method,
    confidence: confidence ?? DEFAULT_CONFIDENCE,
  });
}

/** How often the same trials succeeded in two places. */
export interface PairedCounts {
  readonly both: number;
  readonly firstOnly: number;
  readonly secondOnly: number;
  readonly neither: number;
}

/**
 * The share of trials that succeed in the second place minus that in the first, over the same trials: Newcombe's (1998)
 * paired hybrid score interval, with his corrected correlation. Null without a trial.
 * @throws FloodgateError `usage` unless all counts are whole numbers.
 */
export function pairedShareDifference(counts: PairedCounts, confidence = DEFAULT_CONFIDENCE): Measure {
  const { both, firstOnly, secondOnly, neither } = counts;
  const cells = [both, firstOnly, secondOnly, neither];
  if (!cells.every((cell) => Number.isSafeInteger(cell) && cell >= 0)) {
    throw new FloodgateError('usage', `paired share difference: counts are invalid, got ${cells.join(', ')}`);
  }
  const n = both + firstOnly + secondOnly + neither;
  const method = 'paired difference of shares, Newcombe';
  if (n === 0) return pointMeasure(null, 0, method);
  const [first, second] = [both + firstOnly, both + secondOnly].map((successes) => {
    const { value, low, high } = wilsonInterval(successes, n, confidence);
    return { down: (value as number) - (low as number), up: (high as number) - (value as number) };
  }) as [{ down: number; up: number }, { down: number; up: number }];
  const correlation = correlationOf(counts, n);
  const side = (a: number, b: number): number => Math.sqrt(Math.max(0, a * a - 2 * correlation * a * b + b * b));
  const value = (secondOnly - firstOnly) / n;
  return intervalMeasure({
    value,
    low: Math.max(-1, value - side(second.down, first.up)),
    high: Math.min(1, value + side(second.up, first.down)),
    n,
    method,
    confidence,
  });
}

function correlationOf({ both, firstOnly, secondOnly, neither }: PairedCounts, n: number): number {
  const margins = (both + firstOnly) * (secondOnly + neither) * (both + secondOnly) * (firstOnly + neither);
  if (margins === 0) return 0;
  const excess = both * neither - firstOnly * secondOnly;
  return (excess > 0 ? Math.max(excess - n / 2, 0) : excess) / Math.sqrt(margins);
}
