import { FloodgateError } from '../base/errors.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { normalQuantile, studentTQuantile } from './quantiles.ts';

/**
 * A share with the Wilson score interval (no continuity correction); value and bounds in [0, 1], all null at n = 0.
 * @throws FloodgateError `usage` unless 0 <= successes <= n are whole numbers.
 */
export function wilsonInterval(successes: number, n: number, confidence = DEFAULT_CONFIDENCE): Measure {
  if (!(Number.isSafeInteger(successes) && Number.isSafeInteger(n) && successes >= 0 && successes <= n)) {
    throw new FloodgateError(
      'usage',
      `wilson interval: counts are invalid, got ${successes} of ${n}, expected 0 <= k <= n`,
    );
  }
  if (n === 0) return pointMeasure(null, 0, 'wilson');
  const z = normalQuantile((1 + confidence) / 2);
  const share = successes / n;
  const shrink = 1 + (z * z) / n;
  const centre = (share + (z * z) / (2 * n)) / shrink;
  const half = (z / shrink) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  return intervalMeasure({
    value: share,
    // At the ends the bound is the share itself; rounding would leave 1e-17 beside it.
    low: successes === 0 ? 0 : Math.max(0, centre - half),
    high: successes === n ? 1 : Math.min(1, centre + half),
    n,
    method: 'wilson',
    confidence,
  });
}

/**
 * The mean of one value a seed, with Student's t interval (n - 1 degrees of freedom). One seed: the value alone, no
 * interval; none: null. @throws FloodgateError `usage` for a value that is not finite.
 */
export function meanOverSeeds(values: readonly number[], confidence = DEFAULT_CONFIDENCE): Measure {
  return meanWithTInterval(values, confidence, 't over seeds');
}

/**
 * The mean of `treated[i] - control[i]` over seeds i, with a t interval: what one method gains on the other at equal
 * seeds. @throws FloodgateError `usage` when the lists differ in length or hold a value that is not finite.
 */
export function pairedDifference(
  treated: readonly number[],
  control: readonly number[],
  confidence = DEFAULT_CONFIDENCE,
): Measure {
  if (treated.length !== control.length) {
    throw new FloodgateError(
      'usage',
      `paired difference: seeds do not pair, got ${treated.length} and ${control.length}, expected equal lengths`,
    );
  }
  const differences = treated.map((value, seed) => value - (control[seed] as number));
  return meanWithTInterval(differences, confidence, 'paired t over seeds');
}

/**
 * `meanOverSeeds` of values whose own standard errors are known (`errors[i]` of value i, from the attacks that were drawn
 * at that seed). The spread over seeds holds that noise already, but few seeds can fall together by luck: the variance
 * taken is never below the mean square of the errors.
 * @throws FloodgateError `usage` when the lists differ in length or hold a value that is not finite.
 */
export function meanOverNoisySeeds(
  values: readonly number[],
  errors: readonly number[],
  confidence = DEFAULT_CONFIDENCE,
): Measure {
  const method = 't over seeds, at least the noise within them';
  if (values.length !== errors.length || errors.some((error) => !(Number.isFinite(error) && error >= 0))) {
    throw new FloodgateError('usage', `${method}: expected a standard error a value, got ${errors.join(', ')}`);
  }
  const noise = errors.reduce((sum, error) => sum + error * error, 0) / Math.max(1, errors.length);
  return meanWithTInterval(values, confidence, method, noise);
}

/**
 * The standard error that an interval of normal form stands for, by its wider side, since the other may have been cut at a
 * bound; 0 where there is no interval. `confidence` null: 95%.
 */
export function standardErrorOf({
  value,
  low,
  high,
  confidence,
}: Pick<Measure, 'value' | 'low' | 'high' | 'confidence'>): number {
  if (value === null || low === null || high === null) return 0;
  return Math.max(value - low, high - value) / normalQuantile((1 + (confidence ?? DEFAULT_CONFIDENCE)) / 2);
}

function meanWithTInterval(values: readonly number[], confidence: number, method: string, leastVariance = 0): Measure {
  const odd = values.find((value) => !Number.isFinite(value));
  if (odd !== undefined) throw new FloodgateError('usage', `${method}: value of a seed is not finite, got ${odd}`);
  const n = values.length;
  if (n === 0) return pointMeasure(null, 0, method);
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n === 1) return pointMeasure(mean, 1, method);
  const spread = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const variance = Math.max(spread, leastVariance);
  const half = studentTQuantile((1 + confidence) / 2, n - 1) * Math.sqrt(variance / n);
  return intervalMeasure({ value: mean, low: mean - half, high: mean + half, n, method, confidence });
}
