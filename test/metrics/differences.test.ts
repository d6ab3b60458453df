import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { independentDifference, pairedShareDifference } from '../../src/metrics/differences.ts';
import { wilsonInterval } from '../../src/metrics/intervals.ts';
import { pointMeasure } from '../../src/metrics/measure.ts';

describe('the difference of independent figures', () => {
  it('is Newcombe’s hybrid score interval for shares (his example of 1998: 56 of 70 and 48 of 80)', () => {
    const difference = independentDifference(wilsonInterval(48, 80), wilsonInterval(56, 70));
    expect(difference.value).toBeCloseTo(0.2, 12);
    expect(difference.low).toBeCloseTo(0.0524, 4);
    expect(difference.high).toBeCloseTo(0.3339, 4);
  });

  it('has no interval where a figure has none, and no value where one has none', () => {
    const share = wilsonInterval(3, 10);
    expect(independentDifference(pointMeasure(2, 5, 'count'), share)).toMatchObject({ value: -1.7, low: null });
    expect(independentDifference(pointMeasure(null, 0, 'count'), share).value).toBeNull();
  });
});

describe('the difference of shares over the same trials', () => {
  it('is Newcombe’s paired hybrid score interval (his example of 1998: 36, 12, 2, 0)', () => {
    const { value, low, high } = pairedShareDifference({ both: 36, firstOnly: 12, secondOnly: 2, neither: 0 });
    expect(value).toBeCloseTo(-0.2, 12);
    expect(low).toBeCloseTo(-0.3404, 4);
    expect(high).toBeCloseTo(-0.0569, 4);
  });

  it('covers the truth of related trials, and is narrower than if they were independent', () => {
    const stream = randomStream(1, 'pairs');
    let covered = 0;
    let narrower = 0;
    const draws = 600;
    for (let draw = 0; draw < draws; draw++) {
      const counts = { both: 0, firstOnly: 0, secondOnly: 0, neither: 0 };
      for (let trial = 0; trial < 80; trial++) {
        const first = stream.nextFloat() < 0.6;
        const second = stream.nextFloat() < (first ? 0.7 : 0.1); // 0.46 in all
        counts[first ? (second ? 'both' : 'firstOnly') : second ? 'secondOnly' : 'neither']++;
      }
      const paired = pairedShareDifference(counts);
      const [low, high] = [paired.low as number, paired.high as number];
      if (low <= -0.14 && -0.14 <= high) covered++;
      const shares = [counts.firstOnly, counts.secondOnly].map((only) => wilsonInterval(counts.both + only, 80));
      const apart = independentDifference(shares[0] as never, shares[1] as never);
      if (high - low < (apart.high as number) - (apart.low as number)) narrower++;
    }
    expect(covered / draws).toBeGreaterThan(0.93);
    expect(narrower / draws).toBeGreaterThan(0.99);
  });

  it('has no value without a trial, and refuses what is no count', () => {
    expect(pairedShareDifference({ both: 0, firstOnly: 0, secondOnly: 0, neither: 0 }).value).toBeNull();
    expect(() => pairedShareDifference({ both: 0.5, firstOnly: 0, secondOnly: 0, neither: 0 })).toThrow('0.5');
  });
});
