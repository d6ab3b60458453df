import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { append, maxOf, minOf } from '../../src/base/long-lists.ts';
import { type CollectedAttack, collectionWeights } from '../../src/learning/loops/collection-weights.ts';
import { referenceFailureRate } from '../../src/metrics/reference-failure-rate.ts';
import type { PageContent } from '../../src/report/sections/page-content.ts';
import { curvesSection } from '../../src/report/sections/section-curves.ts';

/** More than a call takes as arguments. */
const MANY = 300_000;

describe('long lists', () => {
  it('have the extremes that Math.max and Math.min name', () => {
    fc.assert(
      fc.property(fc.array(fc.double()), (values) => {
        expect(maxOf(values)).toBe(Math.max(...values));
        expect(minOf(values)).toBe(Math.min(...values));
        expect(maxOf(Float32Array.from(values))).toBe(Math.max(...Float32Array.from(values)));
      }),
    );
  });

  it('may be longer than the arguments of a call', () => {
    const values = Array.from({ length: MANY }, (_, i) => i);
    expect(() => Math.max(...values)).toThrow(RangeError);
    expect([minOf(values), maxOf(values)]).toEqual([0, MANY - 1]);
    const list = [7];
    append(list, values);
    expect([list.length, list[0], list[1], list.at(-1)]).toEqual([MANY + 1, 7, 0, MANY - 1]);
  });

  it('are appended to themselves once', () => {
    const list = [1, 2];
    append(list, list);
    expect(list).toEqual([1, 2, 1, 2]);
  });

  it('of attacks get their weights', () => {
    const attacks = Array.from({ length: MANY }, (_, i) => ({ ids: [i], text: `${i}`, fluency: 0, score: undefined }));
    const rule = { kind: 'reward' as const, clusterSizes: [], balance: 1, logReward: () => 0 };
    const weights = collectionWeights(attacks as unknown as readonly CollectedAttack[], rule);
    expect(weights).toHaveLength(MANY);
    expect(weights[0]).toBeCloseTo(1 / MANY, 12);
  });

  it('of draws have a failure rate', () => {
    const draws = (logPi: number) =>
      Array.from({ length: MANY }, (_, i) => ({ logPRef: -5, logPi, failure: (i % 4) / 4 }));
    const { rate } = referenceFailureRate({ reference: draws(-5), proposal: draws(-5) });
    expect(rate.value).toBeCloseTo(0.375, 6);
  });

  it('of updates are drawn in the report', () => {
    const points = Array.from({ length: MANY }, (_, update) => ({ update, value: update % 10 }));
    const curves = [{ stage: 'sft', updates: MANY, curves: [{ metric: 'loss', isSparse: true, points }] }];
    const section = curvesSection({ curves } as unknown as PageContent);
    expect(section?.body.markup).toContain('lowest 0');
  });
});
