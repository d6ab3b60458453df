import { maxOf } from '../base/long-lists.ts';
/** The tail of positive weights, fitted by a generalised Pareto distribution. */
export interface ParetoTail {
  /** Shape k: below 1/2 the variance is finite; above 0.7 a mean of so few weights cannot be trusted (Vehtari et al.). */
  readonly shape: number;
  /** Weights in the fitted tail. */
  readonly tail: number;
}

/** Least weights in the tail from which its shape is fitted. */
const MIN_TAIL = 5;

/**
 * Pareto k-hat of the largest weights, as in Pareto smoothed importance sampling (Vehtari, Simpson, Gelman, Yao, Gabry
 * 2024). The tail is the largest ceil(min(0.2 S, 3 sqrt S)) of S draws; the next largest is the cut-off. Draws of weight
 * 0 count in S and never enter the tail. Undefined when fewer than five weights exceed the cut-off: the tail is
 * unknown, or many draws share the largest weight.
 */
export function paretoTail(weights: readonly number[]): ParetoTail | undefined {
  const positive = weights.filter((weight) => weight > 0).sort((a, b) => a - b);
  const wanted = Math.ceil(Math.min(0.2 * weights.length, 3 * Math.sqrt(weights.length)));
  const cutoff = positive[Math.max(0, positive.length - wanted - 1)] ?? 0;
  // Scaled by the largest, so that weights of any magnitude keep their digits; the shape does not change.
  const largest = positive.at(-1) ?? 0;
  const excesses = positive.filter((weight) => weight > cutoff).map((weight) => (weight - cutoff) / largest);
  if (excesses.length < MIN_TAIL) return undefined;
  const shape = paretoShape(excesses);
  return Number.isFinite(shape) ? { shape, tail: excesses.length } : undefined;
}

/**
 * The shape of a generalised Pareto distribution with lower end 0 behind ascending excesses: posterior mean over a grid
 * (Zhang and Stephens 2009). As in PSIS, it shrinks to 0.5 with the weight of 10 observations, which steadies short tails.
 */
function paretoShape(excesses: readonly number[]): number {
  const n = excesses.length;
  const quartile = excesses[Math.floor(n / 4 + 0.5) - 1] as number;
  const largest = excesses[n - 1] as number;
  const grid = 30 + Math.floor(Math.sqrt(n));
  const thetas = Array.from(
    { length: grid },
    (_, j) => 1 / largest + (1 - Math.sqrt(grid / (j + 0.5))) / (3 * quartile),
  );
  const shapeAt = (theta: number): number => excesses.reduce((sum, x) => sum + Math.log1p(-theta * x), 0) / n;
  const logLikelihoods = thetas.map((theta) => {
    const shape = shapeAt(theta);
    return n * (Math.log(-theta / shape) - shape - 1);
  });
  const best = maxOf(logLikelihoods);
  const weights = logLikelihoods.map((logLikelihood) => Math.exp(logLikelihood - best));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const theta = thetas.reduce((sum, each, j) => sum + each * ((weights[j] as number) / total), 0);
  const shape = shapeAt(theta);
  return (n * shape + PRIOR_SHAPE * PRIOR_COUNT) / (n + PRIOR_COUNT);
}

const PRIOR_SHAPE = 0.5;
const PRIOR_COUNT = 10;

/** Kish's effective sample size, (sum w)^2 / sum w^2: so many equal weights would have the same relative variance. */
export function effectiveSampleSize(weights: readonly number[]): number {
  const largest = maxOf([0, ...weights]);
  if (largest === 0) return 0;
  const sum = weights.reduce((total, weight) => total + weight / largest, 0);
  const squares = weights.reduce((total, weight) => total + (weight / largest) ** 2, 0);
  return (sum * sum) / squares;
}
