import { FloodgateError } from '../base/errors.ts';
import { logGamma } from './quantiles.ts';

const MAX_TERMS = 100_000;
const BISECTIONS = 200;
const PRECISION = 1e-16;

/**
 * P(a, x): the probability that a gamma variable of shape a > 0 and scale 1 lies at or below x. By its series below the
 * mean, by the continued fraction (modified Lentz) above.
 */
export function gammaCdf(shape: number, x: number): number {
  if (x <= 0) return 0;
  if (x === Number.POSITIVE_INFINITY) return 1;
  const logFront = shape * Math.log(x) - x - logGamma(shape);
  return x < shape + 1 ? Math.exp(logFront) * lowerSeries(shape, x) : 1 - Math.exp(logFront) * upperFraction(shape, x);
}

/**
 * The value below which a chi-square variable with `degrees` of freedom, any real number > 0, falls with this
 * probability. @throws FloodgateError `usage`
 */
export function chiSquareQuantile(probability: number, degrees: number): number {
  const isValid = probability > 0 && probability < 1 && degrees > 0 && Number.isFinite(degrees);
  if (!isValid) {
    throw new FloodgateError(
      'usage',
      `chi-square quantile: arguments are out of range, got probability ${probability} and ${degrees} degrees of ` +
        'freedom, expected (0, 1) and > 0',
    );
  }
  const shape = degrees / 2;
  let low = 0;
  let high = Math.max(1, shape);
  while (gammaCdf(shape, high) < probability) high *= 2;
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = low + (high - low) / 2;
    if (middle === low || middle === high) break;
    if (gammaCdf(shape, middle) < probability) low = middle;
    else high = middle;
  }
  return 2 * high;
}

/** sum over k of x^k / (a (a + 1) ... (a + k)). */
function lowerSeries(shape: number, x: number): number {
  let term = 1 / shape;
  let sum = term;
  for (let k = 1; k < MAX_TERMS; k++) {
    term *= x / (shape + k);
    sum += term;
    if (term < sum * PRECISION) break;
  }
  return sum;
}

function upperFraction(shape: number, x: number): number {
  const awayFromZero = (y: number): number => (Math.abs(y) < 1e-300 ? 1e-300 : y);
  let b = x + 1 - shape;
  let c = 1e300;
  let d = 1 / awayFromZero(b);
  let fraction = d;
  for (let k = 1; k < MAX_TERMS; k++) {
    const numerator = -k * (k - shape);
    b += 2;
    d = 1 / awayFromZero(numerator * d + b);
    c = awayFromZero(b + numerator / c);
    const change = c * d;
    fraction *= change;
    if (Math.abs(change - 1) < PRECISION) break;
  }
  return fraction;
}
