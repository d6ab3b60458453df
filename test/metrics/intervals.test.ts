import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  meanOverNoisySeeds,
  meanOverSeeds,
  pairedDifference,
  pairedRatio,
  standardErrorOf,
  wilsonInterval,
} from '../../src/metrics/intervals.ts';
import { intervalMeasure, pointMeasure } from '../../src/metrics/measure.ts';
import { normalQuantile, studentTQuantile } from '../../src/metrics/quantiles.ts';
import { golden, relativeError } from './golden-values.ts';

describe('quantiles against scipy', () => {
  test('normal', () => {
    for (const [p, expected] of golden.quantiles.normal) {
      expect(relativeError(normalQuantile(p), expected), `p ${p}`).toBeLessThan(1e-9);
    }
  });

  test("Student's t, from half a degree of freedom to 100,000", () => {
    for (const [p, degrees, expected] of golden.quantiles.studentT) {
      expect(relativeError(studentTQuantile(p, degrees), expected), `p ${p}, df ${degrees}`).toBeLessThan(1e-8);
    }
  });

  test('probabilities and degrees out of range are refused', () => {
    expect(() => normalQuantile(1)).toThrow(/got 1/);
    expect(() => studentTQuantile(0, 3)).toThrow(/got 0/);
    expect(() => studentTQuantile(0.9, 0)).toThrow(/degrees/);
    expect(() => studentTQuantile(Number.NaN, 3)).toThrow(/NaN/);
  });
});

describe('Wilson interval', () => {
  test('equals statsmodels', () => {
    for (const [k, n, confidence, low, high] of golden.wilson) {
      const measure = wilsonInterval(k, n, confidence);
      expect(measure.value).toBe(k / n);
      expect(Math.abs((measure.low ?? Number.NaN) - low), `${k}/${n}`).toBeLessThan(1e-12);
      expect(Math.abs((measure.high ?? Number.NaN) - high), `${k}/${n}`).toBeLessThan(1e-12);
    }
  });

  test('lies in [0, 1], holds the share, and mirrors when successes and failures change places', () => {
    const counts = fc
      .integer({ min: 1, max: 5000 })
      .chain((n) => fc.tuple(fc.integer({ min: 0, max: n }), fc.constant(n)));
    fc.assert(
      fc.property(counts, ([k, n]) => {
        const { value, low, high } = wilsonInterval(k, n);
        const mirrored = wilsonInterval(n - k, n);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(low).toBeLessThanOrEqual(value ?? -1);
        expect(high).toBeGreaterThanOrEqual(value ?? 2);
        expect(low).toBeCloseTo(1 - (mirrored.high ?? 0), 12);
      }),
      { seed: 5 },
    );
  });

  test('no data is null, not zero; impossible counts are refused', () => {
    expect(wilsonInterval(0, 0)).toEqual({
      value: null,
      low: null,
      high: null,
      n: 0,
      method: 'wilson',
      confidence: null,
    });
    expect(() => wilsonInterval(3, 2)).toThrow(/got 3 of 2/);
    expect(() => wilsonInterval(0.5, 2)).toThrow(/got 0.5/);
  });
});

describe('over seeds', () => {
  test('mean and t interval equal scipy', () => {
    for (const { values, mean, low, high } of golden.tIntervals) {
      const measure = meanOverSeeds(values);
      expect(measure.value).toBeCloseTo(mean, 12);
      expect(measure.low).toBeCloseTo(low, 10);
      expect(measure.high).toBeCloseTo(high, 10);
      expect(measure.n).toBe(values.length);
    }
  });

  test('one seed has a value but no interval', () => {
    expect(meanOverSeeds([0.4])).toMatchObject({ value: 0.4, low: null, high: null, n: 1 });
    expect(meanOverSeeds([]).value).toBeNull();
    expect(() => meanOverSeeds([0.4, Number.NaN])).toThrow(/NaN/);
  });

  test('a paired difference is that of the differences: seeds that move together cancel', () => {
    const measure = pairedDifference([0.5, 0.7, 0.9], [0.2, 0.4, 0.6]);
    expect(measure.value).toBeCloseTo(0.3, 12);
    expect((measure.high ?? 1) - (measure.low ?? 0)).toBeLessThan(1e-12);
    expect(measure.method).toBe('paired t over seeds');
    expect(() => pairedDifference([1], [1, 2])).toThrow(/got 1 and 2/);
  });
});

test('a measure is JSON-safe: what is not finite is null', () => {
  const broken = { value: 0.5, low: Number.NEGATIVE_INFINITY, high: 1, n: 3, method: 'm', confidence: 0.95 };
  expect(intervalMeasure(broken)).toEqual({ ...broken, low: null, high: null, confidence: null });
  expect(pointMeasure(Number.NaN, 3, 'm').value).toBeNull();
});

describe('over seeds whose own errors are known', () => {
  const SPREAD = [0.2, 0.4, 0.6];

  test('is the plain interval where the spread over seeds is larger than the noise within them', () => {
    const { method: _own, ...noisy } = meanOverNoisySeeds(SPREAD, [0.1, 0, 0.1]);
    const { method: _plain, ...plain } = meanOverSeeds(SPREAD);
    expect(noisy).toEqual(plain);
  });

  test('has the width of the noise where seeds fall together by luck', () => {
    const { value, low, high } = meanOverNoisySeeds([0.5, 0.5, 0.5], [0.1, 0.2, 0.2]);
    expect(value).toBe(0.5);
    // Mean square of the errors 0.03, three seeds, t with 2 degrees of freedom.
    const half = studentTQuantile(0.975, 2) * Math.sqrt(0.03 / 3);
    expect(high).toBeCloseTo(0.5 + half, 12);
    expect(low).toBeCloseTo(0.5 - half, 12);
  });

  test('one seed has no interval, none no value; an error that is none is refused', () => {
    expect(meanOverNoisySeeds([0.4], [0.1])).toMatchObject({ value: 0.4, low: null, high: null });
    expect(meanOverNoisySeeds([], [])).toMatchObject({ value: null, n: 0 });
    expect(() => meanOverNoisySeeds([0.4, 0.5], [0.1])).toThrow(/standard error/);
    expect(() => meanOverNoisySeeds([0.4], [Number.NaN])).toThrow(/NaN/);
  });
});

describe('the standard error of an interval', () => {
  test('is its half width in normal quantiles, whatever it covers', () => {
    const of = (confidence: number) => {
      const half = 0.03 * normalQuantile((1 + confidence) / 2);
      return standardErrorOf({ value: 0.5, low: 0.5 - half, high: 0.5 + half, confidence });
    };
    expect(of(0.95)).toBeCloseTo(0.03, 12);
    expect(of(0.5)).toBeCloseTo(0.03, 12);
    const normal = Math.sqrt((0.3 * 0.7) / 1000);
    const wilson = standardErrorOf({ ...wilsonInterval(300, 1000), confidence: null });
    expect(wilson).toBeGreaterThan(normal);
    expect(wilson).toBeLessThan(1.05 * normal);
    expect(standardErrorOf(pointMeasure(0.5, 1, 'alone'))).toBe(0);
  });

  test('does not shrink where one side was cut at a bound', () => {
    const half = 0.03 * normalQuantile(0.975);
    const cut = { value: 0.99, low: 0.99 - half, high: 1, confidence: 0.95 };
    expect(standardErrorOf(cut)).toBeCloseTo(0.03, 12);
    expect(standardErrorOf({ ...cut, value: 0.01, low: 0, high: 0.01 + half })).toBeCloseTo(0.03, 12);
  });
});

describe('the ratio of paired means', () => {
  const treated = [5, 7, 6, 9, 8];
  const control = [2, 3, 2.5, 4, 3];

  test('has the k at whose ends the paired interval of treated - k control begins to cover 0', () => {
    const { value, low, high, n } = pairedRatio(treated, control);
    expect(value).toBeCloseTo(7 / 2.9, 12);
    expect(n).toBe(5);
    for (const [k, end] of [
      [low, 'low'],
      [high, 'high'],
    ] as const) {
      const scaled = pairedDifference(
        treated,
        control.map((each) => (k as number) * each),
      );
      expect(end === 'low' ? scaled.low : scaled.high).toBeCloseTo(0, 9);
    }
    expect(low as number).toBeLessThan(7 / 2.9);
    expect(high as number).toBeGreaterThan(7 / 2.9);
  });

  test('has no interval where the control may be 0, with one seed, and no value where it is 0', () => {
    expect(pairedRatio([5, 6, 7], [0.1, -3, 4])).toMatchObject({ low: null, high: null });
    expect(pairedRatio([5], [2])).toMatchObject({ value: 2.5, low: null, n: 1 });
    expect(pairedRatio([5, 6], [0, 0])).toMatchObject({ value: null, low: null });
    expect(pairedRatio([], [])).toMatchObject({ value: null, n: 0 });
    expect(() => pairedRatio([1, 2], [1])).toThrow(/expected equal lengths/);
  });
});
