import { describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { discoveryCurve } from '../../src/metrics/species-sampling.ts';
import { goldenUnseen } from './golden-unseen.ts';

describe('discovery curve', () => {
  test('rarefaction equals the mean of hypergeometric draws', () => {
    const { sizes, attacks, rows } = goldenUnseen.rarefaction;
    const curve = discoveryCurve(sizes, { attacks, points: attacks });
    for (const [m, mean, error] of rows) {
      const point = curve.find((each) => each.attacks === m);
      expect(Math.abs((point?.clusters.value ?? 0) - mean), `m ${m}`).toBeLessThan(5 * error);
      expect(point?.kind).toBe('rarefied');
    }
  });

  test('passes through the sample, never falls, and goes on to twice the attacks', () => {
    const curve = discoveryCurve([1, 1, 1, 2, 4, 9], { attacks: 64 });
    expect(curve.map(({ attacks }) => attacks)).toEqual([
      8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128,
    ]);
    expect(curve[7]?.clusters.value).toBeCloseTo(6, 10);
    const values = curve.map(({ clusters }) => clusters.value ?? Number.NaN);
    for (let i = 1; i < values.length; i++) expect(values[i]).toBeGreaterThanOrEqual(values[i - 1] as number);
    for (const { clusters, kind } of curve) {
      expect(clusters.low).toBeLessThanOrEqual(clusters.value ?? 0);
      expect(clusters.high).toBeGreaterThanOrEqual(clusters.value ?? 0);
      if (kind === 'extrapolated') expect(clusters.low).toBeGreaterThanOrEqual(6);
    }
  });

  test('without successes nothing is found at any number of attacks; impossible sizes are refused', () => {
    for (const { clusters } of discoveryCurve([], { attacks: 40 })) expect(clusters.value).toBe(0);
    expect(discoveryCurve([], { attacks: 0 })).toEqual([]);
    expect(() => discoveryCurve([5], { attacks: 4 })).toThrow(/hold 5 attacks/);
  });

  test('the interval at twice the attacks holds what a further sample really adds, in 9 of 10 worlds', () => {
    let held = 0;
    const worlds = 200;
    for (let world = 0; world < worlds; world++) {
      const stream = randomStream(world, 'discovery test');
      const kinds = 20 + stream.nextInt(400);
      const exponent = 1.3 * stream.nextFloat();
      const shares = Array.from({ length: kinds }, (_, k) => (k + 1) ** -exponent);
      const successRate = 0.3 + 0.7 * stream.nextFloat();
      const total = shares.reduce((sum, share) => sum + share, 0);
      const seen = new Map<number, number>();
      const draw = () => {
        if (stream.nextFloat() > successRate) return;
        let left = stream.nextFloat() * total;
        const kind = shares.findIndex((share) => {
          left -= share;
          return left < 0;
        });
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      };
      for (let i = 0; i < 200; i++) draw();
      const point = discoveryCurve([...seen.values()], { attacks: 200 }).at(-1);
      for (let i = 0; i < 200; i++) draw();
      if ((point?.clusters.low ?? 0) <= seen.size && seen.size <= (point?.clusters.high ?? 0)) held++;
    }
    expect(held).toBeGreaterThanOrEqual(0.9 * worlds);
  });
});
