import { FloodgateError } from '../base/errors.ts';

/** Lanczos coefficients (g = 7, 9 terms): log-gamma to about 1e-15 relative. */
const LANCZOS_G = 7;
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
] as const;

const MAX_TERMS = 10_000;
const BISECTIONS = 200;

/** The quantile of the standard normal distribution. @throws FloodgateError `usage` for a probability outside (0, 1). */
export function normalQuantile(probability: number): number {
  assertProbability(probability, 'normal quantile');
  return invertSymmetricCdf(normalCdf, probability);
}

/**
 * The quantile of Student's t distribution, for any real `degrees` of freedom > 0.
 * @throws FloodgateError `usage` for arguments out of range.
 */
export function studentTQuantile(probability: number, degrees: number): number {
  assertProbability(probability, 'student t quantile');
  if (!(degrees > 0 && Number.isFinite(degrees))) {
    throw new FloodgateError(
      'usage',
      `student t quantile: degrees of freedom are invalid, got ${degrees}, expected > 0`,
    );
  }
  return invertSymmetricCdf((t) => studentTCdf(t, degrees), probability);
}

/** P(Z <= z) by the Taylor series of the error function about 0 (Marsaglia 2004). */
export function normalCdf(z: number): number {
  if (Math.abs(z) > 8.5) return z > 0 ? 1 : 0;
  let term = z;
  let sum = z;
  for (let k = 3; k < MAX_TERMS; k += 2) {
    term *= (z * z) / k;
    const next = sum + term;
    if (next === sum) break;
    sum = next;
  }
  return 0.5 + (sum * Math.exp(-0.5 * z * z)) / Math.sqrt(2 * Math.PI);
}

/** P(T <= t) for Student's t, through the regularised incomplete beta function. */
export function studentTCdf(t: number, degrees: number): number {
  const tail = 0.5 * incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5);
  return t > 0 ? 1 - tail : tail;
}

/** Bisects the upper half, where the quantile is >= 0; the lower half follows by symmetry. */
function invertSymmetricCdf(cdf: (x: number) => number, probability: number): number {
  if (probability < 0.5) return -invertSymmetricCdf(cdf, 1 - probability);
  let low = 0;
  let high = 1;
  while (cdf(high) < probability && high < Number.MAX_VALUE / 2) high *= 2;
  for (let i = 0; i < BISECTIONS && low < high; i++) {
    const middle = low + (high - low) / 2;
    if (middle === low || middle === high) break;
    if (cdf(middle) < probability) low = middle;
    else high = middle;
  }
  return probability === 0.5 ? 0 : high;
}

/** log of the gamma function, for x > 0. */
export function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  const shifted = x - 1;
  let sum: number = LANCZOS[0];
  for (let i = 1; i < LANCZOS.length; i++) sum += (LANCZOS[i] as number) / (shifted + i);
  const t = shifted + LANCZOS_G + 0.5;
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(t) - t + Math.log(sum);
}

/** I_x(a, b), the regularised incomplete beta function. */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const logFront = logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x);
  const front = Math.exp(logFront);
  // The fraction converges fast only below the mean; above it, I_x(a,b) = 1 - I_{1-x}(b,a) is used.
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(x, a, b)) / a : 1 - (front * betaFraction(1 - x, b, a)) / b;
}

/** The continued fraction of the incomplete beta function, evaluated by the modified Lentz method. */
function betaFraction(x: number, a: number, b: number): number {
  const awayFromZero = (y: number): number => (Math.abs(y) < 1e-300 ? 1e-300 : y);
  let c = 1;
  let d = 1 / awayFromZero(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  const advance = (numerator: number): number => {
    d = 1 / awayFromZero(1 + numerator * d);
    c = awayFromZero(1 + numerator / c);
    fraction *= c * d;
    return c * d;
  };
  for (let m = 1; m < MAX_TERMS; m++) {
    advance((m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)));
    const change = advance((-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)));
    if (Math.abs(change - 1) < 1e-16) break;
  }
  return fraction;
}

function assertProbability(probability: number, operation: string): void {
  if (probability > 0 && probability < 1) return;
  throw new FloodgateError('usage', `${operation}: probability is out of range, got ${probability}, expected (0, 1)`);
}

const MAX_GAMMA_TERMS = 100_000;
const PRECISION = 1e-16;

/**
 * P(a, x): the probability that a gamma variable of shape a > 0 and scale 1 is at most x. Computed by its series below
 * the mean and by the continued fraction (modified Lentz) above.
 */
export function gammaCdf(shape: number, x: number): number {
  if (x <= 0) return 0;
  if (x === Number.POSITIVE_INFINITY) return 1;
  const logFront = shape * Math.log(x) - x - logGamma(shape);
  return x < shape + 1 ? Math.exp(logFront) * lowerSeries(shape, x) : 1 - Math.exp(logFront) * upperFraction(shape, x);
}

/**
 * The quantile of the chi-square distribution, for any real `degrees` of freedom > 0.
 * @throws FloodgateError `usage` for arguments out of range.
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
  for (let k = 1; k < MAX_GAMMA_TERMS; k++) {
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
  for (let k = 1; k < MAX_GAMMA_TERMS; k++) {
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
