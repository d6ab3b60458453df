import { FloodgateError } from '../base/errors.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { logGamma, normalQuantile } from './quantiles.ts';

/**
 * Statistics of species sampling: what draws say of the clusters that they have not seen. Clusters are the species.
 */

/** How often clusters were seen in `draws` independent draws. */
export interface RareCounts {
  /** Independent draws from one distribution, each in exactly one cluster. */
  readonly draws: number;
  /** Clusters seen once. */
  readonly singletons: number;
  /** Clusters seen twice. */
  readonly doubletons: number;
}

/**
 * Added to the doubletons. Without it the interval fails for few, rare clusters, of which none may have been seen twice.
 * Chosen by simulated coverage (docs/unseen.md); 0.5 is not enough for few equally rare clusters.
 */
const EXTRA_DOUBLETONS = 1.5;

/**
 * The probability of all clusters not yet seen, by Good and Turing: singletons / draws, with a score interval. Null
 * without draws. With f1 singletons, f2 doubletons and missing mass M, f1 - n M has mean about 0 and variance about
 * f1 + 2 f2 - f1^2 / n (Esty 1983). Esty's normal interval puts the estimate in the place of M, so it has no width at
 * f1 = 0 or f1 = n. Here f1 is replaced by its expectation n M, and the bounds solve
 * (f1 - n M)^2 = z^2 (n M (1 - M) + 2 (f2 + 1.5)), as Wilson's interval does for a share.
 *
 * @throws FloodgateError `usage` for counts that cannot be.
 */
export function missingMass(counts: RareCounts, confidence = DEFAULT_CONFIDENCE): Measure {
  assertRareCounts(counts);
  const { draws: n, singletons: f1, doubletons: f2 } = counts;
  const method = 'good-turing, score interval';
  if (n === 0) return pointMeasure(null, 0, method);
  const z2 = normalQuantile((1 + confidence) / 2) ** 2;
  const a = 1 + z2 / n;
  const halfB = f1 + z2 / 2;
  const root = Math.sqrt(halfB * halfB - a * (f1 * f1 - 2 * z2 * (f2 + EXTRA_DOUBLETONS)));
  return intervalMeasure({
    value: f1 / n,
    low: Math.max(0, (halfB - root) / a / n),
    high: Math.min(1, (halfB + root) / a / n),
    n,
    method,
    confidence,
  });
}

/** Counts the clusters of one and of two draws. `sizes`: draws of each cluster seen. */
export function countRare(sizes: readonly number[], draws: number): RareCounts {
  const clustersOf = (size: number): number => sizes.filter((each) => each === size).length;
  return { draws, singletons: clustersOf(1), doubletons: clustersOf(2) };
}

/** @throws FloodgateError `usage` for counts that cannot be. */
export function assertRareCounts({ draws, singletons, doubletons }: RareCounts): void {
  const areCounts = [draws, singletons, doubletons].every((count) => Number.isSafeInteger(count) && count >= 0);
  if (areCounts && singletons + 2 * doubletons <= draws) return;
  throw new FloodgateError(
    'usage',
    `cluster counts: they do not fit, got ${singletons} singletons and ${doubletons} doubletons among ${draws} draws`,
  );
}

/** Clusters beyond the seen ones, by Chao1: (n - 1) / n * f1 (f1 - 1) / (2 (f2 + 1)). */
export function chao1Unseen({ draws: n, singletons: f1, doubletons: f2 }: RareCounts): number {
  return n === 0 ? 0 : (((n - 1) / n) * f1 * (f1 - 1)) / (2 * (f2 + 1));
}

/**
 * A lower bound of the number of clusters (Chao 1984, bias-corrected form), with the log-transformed interval of Chao
 * (1987). It is symmetric in log(estimate - seen), so its lower limit never falls below the number seen.
 * The lower limit is rounded down. Clusters are whole, so a limit of 20.1 says *at least 21*; that was wrong in up to
 * half of all samples that had seen every cluster or all but one (docs/unseen.md).
 * Estimate and lower limit bound the true number from below. The upper limit is one of the *estimate*: with many very
 * rare clusters, the true number may be far above it. n = draws.
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

/** A point of the curve: the number of clusters expected after `attacks` attacks (n). */
export interface DiscoveryPoint {
  readonly attacks: number;
  readonly clusters: Measure;
  readonly kind: 'rarefied' | 'extrapolated';
}

export interface DiscoveryOptions {
  /** Attacks that were evaluated, failures included. */
  readonly attacks: number;
  /** Points up to `attacks`; as many more follow up to twice the attacks. */
  readonly points?: number;
  readonly confidence?: number;
}

/** The curve ends at twice the sample: beyond it, the interval of an extrapolation is too wide to use. */
const FURTHEST = 2;
const DEFAULT_POINTS = 8;

/**
 * The number of clusters expected after m attacks, for m up to twice the attacks evaluated. `sizes`: successes of each
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
 * sum over clusters of 1 - C(n - size, m) / C(n, m). The variance is the unconditional one of Colwell et al. (2012,
 * equation 5), with Chao1 for the number of clusters, so that the interval at m = n has the width of a new sample.
 */
function rarefied(sizes: readonly number[], n: number, m: number, confidence: number): Measure {
  const found = sizes.map((size) => 1 - missChance(n, m, size));
  const value = found.reduce((sum, p) => sum + p, 0);
  const there = sizes.length + chao1Unseen(countRare(sizes, n));
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

/** C(n - size, m) / C(n, m): the probability that no attack of the cluster is among m of n. */
function missChance(n: number, m: number, size: number): number {
  if (n - size < m) return 0;
  return Math.exp(logGamma(n - size + 1) - logGamma(n - size - m + 1) - logGamma(n + 1) + logGamma(n - m + 1));
}

/** Added for rare clusters of which none has been drawn twice, as in the missing mass. */
const EXTRA_SINGLETONS = 1.5;

/**
 * Clusters seen so far plus those that m - n further attacks add, by the estimator of Chao that converges to Chao1:
 * f0 (1 - (1 - f1 / (n f0 + f1))^(m - n)) (Colwell et al. 2012, equation 9). It never falls, and it is too low where many
 * clusters are very rare. In simulation its error was smaller than that of Good and Toulmin's series with binomial
 * smoothing. The interval is that of the number that *will be* added. Its variance is that of the first two terms of
 * Good and Toulmin, t^2 f1 + t^4 f2 with t = (m - n) / n, plus the number added.
 */
function extrapolated(sizes: readonly number[], n: number, m: number, confidence: number): Measure {
  const t = (m - n) / n;
  const { singletons, doubletons } = countRare(sizes, n);
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
