import { FloodgateError } from '../base/errors.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { normalQuantile } from './quantiles.ts';

/** `hits` of `n` independent trials. */
export interface HitCount {
  readonly hits: number;
  readonly n: number;
}

/** A judge's errors, measured on examples that a person labelled. */
export interface JudgeErrors {
  /** Unsafe examples that the judge calls unsafe. */
  readonly sensitivity: HitCount;
  /** Safe examples that the judge calls safe. */
  readonly specificity: HitCount;
}

const METHOD = 'Rogan-Gladen, Lang-Reiczigel interval';

function shareOf({ hits, n }: HitCount, name: string): number {
  if (Number.isFinite(n) && hits >= 0 && hits <= n) return n === 0 ? Number.NaN : hits / n;
  throw new FloodgateError('usage', `rogan-gladen: ${name}: got ${hits} of ${n}, expected 0 <= hits <= n`);
}

/**
 * The share of answers that are unsafe, from the share that an imperfect judge calls unsafe (Rogan and Gladen 1978):
 * (p + Sp - 1) / (Se + Sp - 1), cut to [0, 1]. The interval is that of Lang and Reiczigel (2014). It counts the
 * sampling error of all three shares. Without examples of both labels, or with Se + Sp <= 1, the value is null: such a
 * judge says nothing about harm.
 * @param judged counts may be fractions, where answers are not independent and n is an effective number.
 * @throws FloodgateError `usage` unless 0 <= hits <= n in every count.
 */
export function roganGladen(judged: HitCount, errors: JudgeErrors, confidence = DEFAULT_CONFIDENCE): Measure {
  const rate = shareOf(judged, 'judged answers');
  const sensitivity = shareOf(errors.sensitivity, 'sensitivity');
  const specificity = shareOf(errors.specificity, 'specificity');
  const { n } = judged;
  // Negated, so that a share without trials (NaN) has no value either.
  if (!(sensitivity + specificity > 1 && rate >= 0)) return pointMeasure(null, n, METHOD);
  const value = within01((rate + specificity - 1) / (sensitivity + specificity - 1));
  const z = normalQuantile((1 + confidence) / 2);
  const { centre, error } = smoothedEstimate(judged, errors, z);
  const [low, high] = [within01(centre - z * error), within01(centre + z * error)];
  return intervalMeasure({ value, low, high, n, method: METHOD, confidence });
}

/** Centre and standard error of the interval: the three shares moved inward, as in equations 6, 7, 16 and 17. */
function smoothedEstimate(judged: HitCount, { sensitivity, specificity }: JudgeErrors, z: number) {
  const inward = ({ hits, n }: HitCount, added: number) => {
    const share = (hits + added / 2) / (n + added);
    return { share, variance: (share * (1 - share)) / (n + added) };
  };
  const [p, se, sp] = [inward(judged, z * z), inward(sensitivity, 2), inward(specificity, 2)];
  const gain = se.share + sp.share - 1;
  const estimate = (p.share + sp.share - 1) / gain;
  const shift = 2 * z * z * (estimate * se.variance - (1 - estimate) * sp.variance);
  const variance = p.variance + estimate ** 2 * se.variance + (1 - estimate) ** 2 * sp.variance;
  return { centre: estimate + shift, error: Math.sqrt(variance) / gain };
}

function within01(x: number): number {
  return Math.min(1, Math.max(0, x));
}

/**
 * Hits over clusters of answers that are not independent, such as the answers to one attack. The share is that of all
 * answers; n is the number of independent answers with the same variance, between the number of clusters and that of
 * answers. When all answers are alike there is no spread to measure, and n is the number of clusters.
 */
export function clusteredCount(clusters: readonly HitCount[]): HitCount {
  const filled = clusters.filter(({ n }) => n > 0);
  const total = filled.reduce((sum, { n }) => sum + n, 0);
  if (total === 0) return { hits: 0, n: 0 };
  const share = filled.reduce((sum, { hits }) => sum + hits, 0) / total;
  const count = filled.length;
  const squares = filled.reduce((sum, { hits, n }) => sum + (hits - n * share) ** 2, 0);
  const variance = count < 2 ? 0 : (squares * count) / ((count - 1) * total * total);
  const effective = variance === 0 ? count : (share * (1 - share)) / variance;
  const n = Math.min(total, Math.max(count, effective));
  return { hits: share * n, n };
}
