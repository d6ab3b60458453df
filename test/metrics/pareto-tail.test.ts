import { expect, test } from 'vitest';
import { effectiveSampleSize, paretoTail } from '../../src/metrics/pareto-tail.ts';
import { goldenUnseen } from './golden-unseen.ts';

test('k-hat equals the fit of arviz for light, heavy and bounded tails', () => {
  for (const { weights, tail, shape } of goldenUnseen.pareto) {
    const fit = paretoTail(weights);
    expect(fit?.tail).toBe(tail);
    expect(fit?.shape).toBeCloseTo(shape, 6);
  }
});

test('the scale of the weights does not matter, and zeros only lengthen the tail', () => {
  const [, { weights }] = goldenUnseen.pareto as [unknown, { weights: number[] }];
  const shape = paretoTail(weights)?.shape ?? Number.NaN;
  expect(paretoTail(weights.map((weight) => weight * 1e-200))?.shape).toBeCloseTo(shape, 8);
  expect(paretoTail([...weights, ...new Array<number>(400).fill(0)])?.tail).toBe(74);
});

test('nothing is said of a tail that is too short or an atom', () => {
  expect(paretoTail([])).toBeUndefined();
  expect(paretoTail([0, 0, 0, 1, 2, 3, 4])).toBeUndefined();
  expect(paretoTail(new Array<number>(100).fill(2))).toBeUndefined();
});

test('effective sample size: equal weights count in full, one large weight counts once', () => {
  expect(effectiveSampleSize([3, 3, 3, 3])).toBeCloseTo(4, 12);
  expect(effectiveSampleSize([1e-9, 1e-9, 1])).toBeCloseTo(1, 6);
  expect(effectiveSampleSize([1e-300, 3e-300])).toBeCloseTo(1.6, 12);
  expect(effectiveSampleSize([])).toBe(0);
});
