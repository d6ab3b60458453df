import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { roundEnd, roundTicks } from '../../src/report/charts/svg-scale.ts';
import { MAX_SMOOTHED_POINTS, smoothCurve, thinCurve } from '../../src/report/figures/learning-curves.ts';
import {
  intervalText,
  numberText,
  percentText,
  plainNumber,
  secondsText,
} from '../../src/report/words/number-words.ts';

describe('numbers in words', () => {
  it('keeps a decimal where whole percents hide too much', () => {
    expect([0, 0.0042, 0.02, 0.0994, 0.0996, 0.5625, 0.95, 0.995, 1].map(percentText)).toEqual([
      '0%',
      '0.4%',
      '2.0%',
      '9.9%',
      '10%',
      '56%',
      '95%',
      '99.5%',
      '100%',
    ]);
  });

  it('never shows what is not known as zero', () => {
    expect(numberText(null, 'share')).toBe('–');
    expect(intervalText({ value: 0.5, low: null, high: null, n: 3 }, 'share')).toBeUndefined();
    expect(intervalText({ value: 0.5, low: 0.05, high: 0.6, n: 3 }, 'share')).toBe('5.0–60%');
  });

  it('writes other numbers short, and time as people say it', () => {
    expect([12, 1234567, 0.8226, 61.4, 2499.6, 0, 1.2e-5].map(plainNumber)).toEqual([
      '12',
      '1,234,567',
      '0.823',
      '61.4',
      '2,500',
      '0',
      '1.2e-5',
    ]);
    expect([0.4, 59, 61, 3599.6, 4800, 7199].map(secondsText)).toEqual([
      '0 s',
      '59 s',
      '1 min 1 s',
      '1 h 0 min',
      '1 h 20 min',
      '2 h 0 min',
    ]);
  });
});

describe('scales', () => {
  const range = fc
    .tuple(fc.double({ min: -1e6, max: 1e6, noNaN: true }), fc.double({ min: 1e-3, max: 1e6, noNaN: true }))
    .map(([low, extent]) => [low, low + extent] as const);

  it('ticks are few, inside the range and evenly apart', () => {
    fc.assert(
      fc.property(range, ([low, high]) => {
        const ticks = roundTicks(low, high, 4);
        expect(ticks.length).toBeLessThanOrEqual(5);
        const slack = (high - low) * 1e-6;
        for (const tick of ticks) expect(tick >= low - slack && tick <= high + slack).toBe(true);
        const steps = ticks.slice(1).map((tick, i) => tick - (ticks[i] as number));
        for (const step of steps) expect(step).toBeCloseTo(steps[0] as number, 4);
      }),
    );
    expect(roundTicks(0, 1, 4)).toEqual([0, 0.5, 1]);
  });

  it('ends a scale above what it shows', () => {
    expect([51, 3, 0.4, 120, 0].map(roundEnd)).toEqual([55, 4, 0.45, 150, 1]);
  });
});

describe('curves', () => {
  const points = Array.from({ length: 1000 }, (_, update) => ({ update, value: update % 2 }));

  it('are thinned to means, and smoothed without a shift', () => {
    const thin = thinCurve(points, 120);
    expect(thin.length).toBeLessThanOrEqual(120);
    expect(thin.slice(0, -1).every(({ value }) => Math.abs(value - 0.5) < 0.06)).toBe(true);
    expect(thinCurve(points.slice(0, 50), 120)).toEqual(points.slice(0, 50));
    expect(thinCurve([], 120)).toEqual([]);
    const line = points.map(({ update }) => ({ update, value: update }));
    expect(smoothCurve(line, 0.01).slice(10, -10)).toEqual(line.slice(10, -10));
  });

  it('of any length are smoothed in bounded time: a long one is thinned first', () => {
    const long = Array.from({ length: 300_000 }, (_, update) => ({ update, value: update % 3 }));
    const smooth = smoothCurve(long, 0.04);
    expect(smooth.length).toBeLessThanOrEqual(MAX_SMOOTHED_POINTS);
    expect(smooth.every(({ value }) => Math.abs(value - 1) < 0.01)).toBe(true);
    const whole = long.slice(0, MAX_SMOOTHED_POINTS);
    const plain = whole.map((_, i) => whole.slice(Math.max(0, i - 327), i + 328));
    expect(smoothCurve(whole, 0.04).map(({ value }) => value)).toEqual(
      plain.map((part) => part.reduce((sum, { value }) => sum + value, 0) / part.length),
    );
  });
});
