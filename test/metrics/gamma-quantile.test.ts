import { expect, test } from 'vitest';
import { weightedRateInterval } from '../../src/metrics/intervals.ts';
import { chiSquareQuantile, gammaCdf } from '../../src/metrics/quantiles.ts';
import { goldenUnseen } from './golden-unseen.ts';
import { relativeError } from './golden-values.ts';

test('gamma probabilities equal scipy over shapes from 0.001 to 20,000', () => {
  for (const [shape, x, expected] of goldenUnseen.gammas.cdf) {
    expect(Math.abs(gammaCdf(shape, x) - expected), `P(${shape}, ${x})`).toBeLessThan(1e-10);
  }
});

test('chi-square quantiles equal scipy, whole degrees of freedom or not', () => {
  for (const [p, degrees, expected] of goldenUnseen.gammas.chiSquare) {
    expect(relativeError(chiSquareQuantile(p, degrees), expected), `p ${p}, df ${degrees}`).toBeLessThan(1e-9);
  }
  expect(() => chiSquareQuantile(1, 3)).toThrow(/got probability 1/);
  expect(() => chiSquareQuantile(0.5, 0)).toThrow(/0 degrees/);
});

test('the gamma interval equals the formulas of Fay and Feuer in scipy', () => {
  for (const [value, variance, largestWeight, low, high] of goldenUnseen.gammaInterval) {
    const interval = weightedRateInterval({ value, variance, largestWeight });
    expect(interval.low).toBeCloseTo(low, 10);
    expect(interval.high).toBeCloseTo(high, 10);
  }
});

test('no event is bounded by -ln(0.025) / n, and all events by its mirror', () => {
  const none = weightedRateInterval({ value: 0, variance: 0, largestWeight: 1 / 200 });
  expect(none.low).toBe(0);
  expect(none.high).toBeCloseTo(-Math.log(0.025) / 200, 10);
  const all = weightedRateInterval({ value: 1, variance: 0, largestWeight: 1 / 200 });
  expect(all.high).toBe(1);
  expect(all.low).toBeCloseTo(1 + Math.log(0.025) / 200, 10);
});
