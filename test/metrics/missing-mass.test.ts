import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chao1, missingMass } from '../../src/metrics/species-sampling.ts';
import { goldenUnseen } from './golden-unseen.ts';

const counts = fc
  .record({ draws: fc.integer({ min: 1, max: 3000 }), a: fc.double({ min: 0, max: 1, noNaN: true }), b: fc.nat(100) })
  .map(({ draws, a, b }) => {
    const singletons = Math.floor(a * draws);
    return { draws, singletons, doubletons: Math.floor(((draws - singletons) / 2) * (b / 100)) };
  });

describe('missing mass', () => {
  test('bounds solve the defining equation, as found by scipy', () => {
    for (const [draws, singletons, doubletons, low, high] of goldenUnseen.missingMass) {
      const measure = missingMass({ draws, singletons, doubletons });
      expect(measure.value).toBe(singletons / draws);
      expect(measure.low, `${singletons} of ${draws}`).toBeCloseTo(low, 9);
      expect(measure.high, `${singletons} of ${draws}`).toBeCloseTo(high, 9);
    }
  });

  test('lies in [0, 1], holds the estimate, and is never a point', () => {
    fc.assert(
      fc.property(counts, (each) => {
        const { value, low, high } = missingMass(each) as { value: number; low: number; high: number };
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(low).toBeLessThanOrEqual(value + 1e-12);
        expect(high).toBeGreaterThanOrEqual(value - 1e-12);
        expect(high - low).toBeGreaterThan(0);
      }),
      { seed: 11 },
    );
  });

  test('no draw is null, not zero; impossible counts are refused', () => {
    expect(missingMass({ draws: 0, singletons: 0, doubletons: 0 })).toMatchObject({ value: null, low: null, n: 0 });
    expect(() => missingMass({ draws: 5, singletons: 4, doubletons: 1 })).toThrow(/4 singletons and 1 doubletons/);
    expect(() => missingMass({ draws: 5, singletons: 0.5, doubletons: 1 })).toThrow(/cluster counts/);
  });
});

describe('Chao1', () => {
  test('estimate and log-transformed interval equal the published formulas, the lower limit in whole clusters', () => {
    for (const [seen, draws, singletons, doubletons, value, low, high] of goldenUnseen.chao1) {
      const measure = chao1(seen, { draws, singletons, doubletons });
      expect(measure.value).toBeCloseTo(value, 8);
      expect(measure.low).toBe(Math.floor(low));
      expect((measure.high ?? 0) / high).toBeCloseTo(1, 10);
    }
  });

  test('its lower limit is at least the number seen, and equal without singletons', () => {
    fc.assert(
      fc.property(counts, (each) => {
        const { value, low } = chao1(each.singletons + each.doubletons + 3, each) as { value: number; low: number };
        expect(low).toBeGreaterThanOrEqual(each.singletons + each.doubletons + 3);
        expect(low).toBeLessThanOrEqual(value);
      }),
      { seed: 12 },
    );
    expect(chao1(9, { draws: 100, singletons: 0, doubletons: 4 })).toMatchObject({ value: 9, low: 9, high: 9 });
    expect(chao1(0, { draws: 0, singletons: 0, doubletons: 0 }).value).toBeNull();
  });
});
