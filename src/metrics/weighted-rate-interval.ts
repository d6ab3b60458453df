import { chiSquareQuantile } from './gamma-quantile.ts';
import { DEFAULT_CONFIDENCE } from './measure.ts';

export interface WeightedRate {
  /** A weighted count of rare events, e.g. the mean of draws that are mostly 0. */
  readonly value: number;
  /** Estimated variance of `value`. */
  readonly variance: number;
  /** What one more event of the greatest possible weight would add to `value`. */
  readonly largestWeight: number;
}

/**
 * The gamma interval of a weighted rate (Fay and Feuer 1997): the exact Poisson limits where all weights are equal, at
 * least nominal coverage in every simulation published, and sensible at no event at all: [0, 3.69 largestWeight] at 95%.
 * The upper limit grants one unseen event of the largest weight, which is what a normal or a bootstrap interval lacks.
 * A share above 1/2 gets the mirrored interval of its complement, so that all successes are no certainty either.
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
  // Draws that are all equal show no spread; that of as many Poisson events stands in for it.
  const spread = variance > 0 ? variance : value * largestWeight;
  return {
    low: value > 0 ? limit(tail, value, spread) : 0,
    high: limit(1 - tail, value + largestWeight, spread + largestWeight ** 2),
  };
}
