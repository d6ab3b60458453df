import { FloodgateError } from '../base/errors.ts';
import { chao1Unseen } from './chao1.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure } from './measure.ts';
import type { RareCounts } from './missing-mass.ts';
import { logGamma, normalQuantile } from './quantiles.ts';

/** A point of the curve: `value` clusters are expected after `attacks` attacks (n). */
export interface DiscoveryPoint {
  readonly attacks: number;
  readonly clusters: Measure;
  readonly kind: 'rarefied' | 'extrapolated';
}

export interface DiscoveryOptions {
  /** Attacks that were evaluated, failures included: what was paid for. */
  readonly attacks: number;
  /** Points up to `attacks`, and as many again beyond it up to twice as many. */
  readonly points?: number;
  readonly confidence?: number;
}

/** Beyond twice the sample no extrapolation is worth its interval. */
const FURTHEST = 2;
const DEFAULT_POINTS = 8;

/**
 * How many clusters are expected after m attacks, for m up to twice the attacks evaluated. `sizes`: successes of each
 * cluster seen.
 *
 * @throws FloodgateError `usage` when the clusters hold more attacks than were evaluated.
 */
export function discoveryCurve(sizes: readonly number[], options: DiscoveryOptions): DiscoveryPoint[] {
  const { attacks, points = DEFAULT_POINTS, confidence = DEFAULT_CONFIDENCE } = options;
  const clustered = sizes.reduce((sum, size) => sum + size, 0);
  if (clustered > attacks) {
    throw new FloodgateError(
      'usage',
      `discovery curve: clusters hold ${clustered} attacks, expected at most the ${attacks} evaluated`,
    );
  }
  const at = Array.from({ length: FURTHEST * points }, (_, i) => Math.round(((i + 1) * attacks) / points));
  return [...new Set(at)]
    .filter((m) => m > 0)
    .map((m) =>
      m <= attacks
        ? { attacks: m, kind: 'rarefied', clusters: rarefied(sizes, attacks, m, confidence) }
        : { attacks: m, kind: 'extrapolated', clusters: extrapolated(sizes, attacks, m, confidence) },
    );
}

/**
 * The expected number of clusters among m of the n attacks, drawn without replacement:
 * sum over clusters of 1 - C(n - size, m) / C(n, m). Unconditional variance of Colwell et al. (2012, equation 5), with
 * Chao1 for the number there are, so that the interval at m = n has the width of a new sample.
 */
function rarefied(sizes: readonly number[], n: number, m: number, confidence: number): Measure {
  const found = sizes.map((size) => 1 - missChance(n, m, size));
  const value = found.reduce((sum, p) => sum + p, 0);
  const there = sizes.length + chao1Unseen(rareCounts(sizes, n));
  const variance = found.reduce((sum, p) => sum + p * p, 0) - (value * value) / Math.max(1, there);
  const half = normalQuantile((1 + confidence) / 2) * Math.sqrt(Math.max(0, variance));
  return intervalMeasure({
    value,
    low: Math.max(0, value - half),
    high: value + half,
    n: m,
    method: `rarefaction of ${n} attacks`,
    confidence,
  });
}

/** C(n - size, m) / C(n, m): no attack of the cluster is among m of n. */
function missChance(n: number, m: number, size: number): number {
  if (n - size < m) return 0;
  return Math.exp(logGamma(n - size + 1) - logGamma(n - size - m + 1) - logGamma(n + 1) + logGamma(n - m + 1));
}

/** Stands in for rare clusters of which none has been drawn twice, as in the missing mass. */
const EXTRA_SINGLETONS = 1.5;

/**
 * Clusters seen so far and those that m - n further attacks will add, by the estimator of Chao that ends at Chao1:
 * f0 (1 - (1 - f1 / (n f0 + f1))^(m - n)) (Colwell et al. 2012, equation 9). It never falls, errs low where many clusters
 * are very rare, and had the smaller error in simulation than Good and Toulmin's series with binomial smoothing.
 * Interval: of the number that *will be* added, so its variance is that of the first two terms of Good and Toulmin,
 * t^2 f1 + t^4 f2 with t = (m - n) / n, plus the number added.
 */
function extrapolated(sizes: readonly number[], n: number, m: number, confidence: number): Measure {
  const t = (m - n) / n;
  const { singletons, doubletons } = rareCounts(sizes, n);
  const unseen = chao1Unseen({ draws: n, singletons, doubletons });
  const added = unseen === 0 ? 0 : unseen * (1 - (1 - singletons / (n * unseen + singletons)) ** (m - n));
  const variance = added + t ** 2 * (singletons + EXTRA_SINGLETONS) + t ** 4 * doubletons;
  const half = normalQuantile((1 + confidence) / 2) * Math.sqrt(variance);
  return intervalMeasure({
    value: sizes.length + added,
    low: sizes.length + Math.max(0, added - half),
    high: sizes.length + added + half,
    n: m,
    method: `chao's extrapolation from ${n} attacks`,
    confidence,
  });
}

function rareCounts(sizes: readonly number[], draws: number): RareCounts {
  const clustersOf = (size: number): number => sizes.filter((each) => each === size).length;
  return { draws, singletons: clustersOf(1), doubletons: clustersOf(2) };
}
