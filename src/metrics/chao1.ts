import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { assertRareCounts, type RareCounts } from './missing-mass.ts';
import { normalQuantile } from './quantiles.ts';

/** Clusters that Chao1 holds to be there beyond the seen ones: (n - 1) / n * f1 (f1 - 1) / (2 (f2 + 1)). */
export function chao1Unseen({ draws: n, singletons: f1, doubletons: f2 }: RareCounts): number {
  return n === 0 ? 0 : (((n - 1) / n) * f1 * (f1 - 1)) / (2 * (f2 + 1));
}

/**
 * A lower bound of the number of clusters there are (Chao 1984, bias-corrected form), with the log-transformed interval
 * of Chao (1987): symmetric in log(estimate - seen), so that its lower limit never falls below the number seen.
 * The lower limit is rounded down: clusters are whole, and a limit of 20.1 says *at least 21*, which was wrong in up to
 * half of all samples that had seen every cluster or all but one (docs/unseen.md).
 * Estimate and lower limit bound the true number from below; the upper limit is one of the *estimate*, and the true
 * number may lie far above it where many clusters are very rare. n = draws.
 *
 * @throws FloodgateError `usage` for counts that cannot be.
 */
export function chao1(seen: number, counts: RareCounts, confidence = DEFAULT_CONFIDENCE): Measure {
  assertRareCounts(counts);
  const { draws: n, singletons: f1, doubletons: f2 } = counts;
  const method = 'chao1, log-transformed interval, lower limit rounded down';
  if (n === 0) return pointMeasure(null, 0, method);
  const unseen = chao1Unseen(counts);
  const value = seen + unseen;
  if (unseen === 0) return intervalMeasure({ value, low: value, high: value, n, method, confidence });
  const a = (n - 1) / n;
  const variance =
    unseen +
    (a * a * f1 * (2 * f1 - 1) ** 2) / (4 * (f2 + 1) ** 2) +
    (a * a * f1 * f1 * f2 * (f1 - 1) ** 2) / (4 * (f2 + 1) ** 4);
  const z = normalQuantile((1 + confidence) / 2);
  const factor = Math.exp(z * Math.sqrt(Math.log1p(variance / (unseen * unseen))));
  const low = Math.floor(seen + unseen / factor);
  return intervalMeasure({ value, low, high: seen + unseen * factor, n, method, confidence });
}
