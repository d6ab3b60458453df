import { FloodgateError } from '../base/errors.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { normalQuantile } from './quantiles.ts';

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
 * Added to the doubletons: without it the interval fails where clusters are few and rare, since none of them may have
 * been seen twice yet. Chosen by simulated coverage (docs/unseen.md); 0.5 is not enough for few equally rare clusters.
 */
const EXTRA_DOUBLETONS = 1.5;

/**
 * The share of the distribution that lies in clusters not yet seen, by Good and Turing: singletons / draws, with a score
 * interval. With f1 singletons, f2 doubletons and missing mass M, f1 - n M has mean about 0 and variance about
 * f1 + 2 f2 - f1^2 / n (Esty 1983, whose normal interval puts the estimate in the place of M and so has no width at
 * f1 = 0 or f1 = n). Here f1 is replaced by its expectation n M and the bounds solve
 * (f1 - n M)^2 = z^2 (n M (1 - M) + 2 (f2 + 1.5)), as Wilson's interval does for a share. Null without draws.
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

/** @throws FloodgateError `usage` */
export function assertRareCounts({ draws, singletons, doubletons }: RareCounts): void {
  const areCounts = [draws, singletons, doubletons].every((count) => Number.isSafeInteger(count) && count >= 0);
  if (areCounts && singletons + 2 * doubletons <= draws) return;
  throw new FloodgateError(
    'usage',
    `cluster counts: they do not fit, got ${singletons} singletons and ${doubletons} doubletons among ${draws} draws`,
  );
}
