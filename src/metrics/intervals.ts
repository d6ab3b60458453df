import { FloodgateError } from '../base/errors.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { chiSquareQuantile, normalQuantile, studentTQuantile } from './quantiles.ts';

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
    // At 0 and n the bound is the share itself; rounding would miss it by 1e-17.
    low: successes === 0 ? 0 : Math.max(0, centre - half),
    high: successes === n ? 1 : Math.min(1, centre + half),
    n,
    method: 'wilson',
    confidence,
  });
}

/**
 * The mean of one value per seed, with Student's t interval (n - 1 degrees of freedom). One seed gives no interval;
 * none gives null. @throws FloodgateError `usage` for a value that is not finite.
 */
export function meanOverSeeds(values: readonly number[], confidence = DEFAULT_CONFIDENCE): Measure {
  return meanWithTInterval(values, confidence, 't over seeds');
}

/**
 * The mean of `treated[i] - control[i]` over seeds i, with a t interval: the gain of one method over another at equal
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
 * The mean of `treated` over the mean of `control` at equal seeds, with Fieller's interval: every k for which the paired
 * t interval of treated - k control covers 0. No interval where it has no end, because the control may be 0; null where
 * the control's mean is 0.
 * @throws FloodgateError `usage` as `pairedDifference`.
 */
export function pairedRatio(
  treated: readonly number[],
  control: readonly number[],
  confidence = DEFAULT_CONFIDENCE,
): Measure {
  const method = 'ratio of means, paired Fieller interval over seeds';
  const value = (meanOverSeeds(treated).value ?? 0) / (meanOverSeeds(control).value ?? 0);
  pairedDifference(treated, control);
  const n = treated.length;
  if (n < 2) return pointMeasure(value, n, method);
  const [a, b] = [treated, control].map((values) => values.reduce((sum, each) => sum + each, 0) / n) as [
    number,
    number,
  ];
  const moment = (pick: (seed: number) => number): number =>
    treated.reduce((sum, _, seed) => sum + pick(seed), 0) / (n - 1);
  const [overA, overB] = [
    (seed: number) => (treated[seed] as number) - a,
    (seed: number) => (control[seed] as number) - b,
  ];
  const c = studentTQuantile((1 + confidence) / 2, n - 1) ** 2 / n;
  const quadratic = b * b - c * moment((seed) => overB(seed) ** 2);
  const half = a * b - c * moment((seed) => overA(seed) * overB(seed));
  const constant = a * a - c * moment((seed) => overA(seed) ** 2);
  if (quadratic <= 0) return pointMeasure(value, n, method);
  const root = Math.sqrt(Math.max(0, half * half - quadratic * constant));
  const [low, high] = [(half - root) / quadratic, (half + root) / quadratic];
  return intervalMeasure({ value, low, high, n, method, confidence });
}

/**
 * `meanOverSeeds` of values with known standard errors: `errors[i]` is that of value i, from the attacks drawn at that
 * seed. The spread over seeds includes this noise, but few seeds can agree by chance. So the variance is at least the
 * mean square of the errors.
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
 * The standard error behind an interval of normal form, from its wider side, because a bound may have cut the other; 0
 * without an interval. A null `confidence` means 95%.
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

export interface WeightedRate {
  /** A weighted count of rare events, e.g. the mean of draws that are mostly 0. */
  readonly value: number;
  /** Estimated variance of `value`. */
  readonly variance: number;
  /** How much one more event of the greatest possible weight would add to `value`. */
  readonly largestWeight: number;
}

/**
 * The gamma interval of a weighted rate (Fay and Feuer 1997). With equal weights it is the exact Poisson interval; its
 * coverage was at least nominal in every published simulation; without any event it is [0, 3.69 largestWeight] at 95%.
 * The upper limit allows for one unseen event of the largest weight; normal and bootstrap intervals do not.
 * A share above 1/2 gets the mirrored interval of its complement, so that all successes do not mean certainty.
 */
export function weightedRateInterval(
  rate: WeightedRate,
  confidence = DEFAULT_CONFIDENCE,
): { readonly low: number; readonly high: number } {
  if (rate.value <= 0.5) return gammaInterval(rate, confidence);
  const mirrored = gammaInterval({ ...rate, value: Math.max(0, 1 - rate.value) }, confidence);
  return { low: 1 - mirrored.high, high: 1 - mirrored.low };
}

function gammaInterval({ value, variance, largestWeight }: WeightedRate, confidence: number) {
  const tail = (1 - confidence) / 2;
  const limit = (probability: number, mean: number, spread: number): number =>
    (spread / (2 * mean)) * chiSquareQuantile(probability, (2 * mean * mean) / spread);
  // Draws that are all equal show no spread: then the spread of as many Poisson events is used.
  const spread = variance > 0 ? variance : value * largestWeight;
  return {
    low: value > 0 ? limit(tail, value, spread) : 0,
    high: limit(1 - tail, value + largestWeight, spread + largestWeight ** 2),
  };
}
