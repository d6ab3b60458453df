import { describe, expect, test } from 'vitest';
import {
  plainFailureRate,
  type ReferenceDraw,
  referenceFailureRate,
} from '../../src/metrics/reference-failure-rate.ts';

const draw = (pRef: number, pi: number, failure: number | null): ReferenceDraw => ({
  logPRef: Math.log(pRef),
  logPi: Math.log(pi),
  failure,
});
const repeat = (count: number, each: ReferenceDraw): ReferenceDraw[] => new Array<ReferenceDraw>(count).fill(each);

describe('reference failure rate', () => {
  test('two attacks by hand: the mixture weighs each by p_ref / (p_ref / 2 + pi / 2)', () => {
    // p_ref = (0.9, 0.1), pi = (0.2, 0.8); the second always fails, so the rate is 0.1.
    const common = draw(0.9, 0.2, 0);
    const failing = draw(0.1, 0.8, 1);
    const { rate, plain, varianceRatio, meanWeight } = referenceFailureRate({
      reference: [...repeat(90, common), ...repeat(10, failing)],
      proposal: [...repeat(80, failing), ...repeat(20, common)],
    });
    expect(rate.value).toBeCloseTo(0.1, 12); // (0.1 + 0.8) / 2 * 0.1 / 0.45
    expect(plain.value).toBeCloseTo(0.1, 12);
    expect(rate.low).toBeLessThan(0.1);
    expect(rate.high).toBeGreaterThan(0.1);
    expect(meanWeight.value).toBeCloseTo(1, 12);
    // Here the ten failures of the reference are paired with failures of the attacker: blocks vary by w / 2 and w.
    expect(varianceRatio.value).toBeGreaterThan(1);
  });

  test('equal models bring plain sampling: same rate from twice the draws', () => {
    const draws = (failures: number) => [
      ...repeat(failures, draw(0.01, 0.01, 1)),
      ...repeat(200 - failures, draw(0.01, 0.01, 0)),
    ];
    const { rate, effectiveSize } = referenceFailureRate({ reference: draws(20), proposal: draws(30).reverse() });
    expect(rate.value).toBeCloseTo(0.125, 12);
    expect(effectiveSize.value).toBeCloseTo(30, 9);
    expect(rate.n).toBe(400);
  });

  test('no failure gives an upper bound from the reference draws, not zero width', () => {
    const { rate, flaw } = referenceFailureRate({
      reference: repeat(100, draw(0.01, 0.02, 0)),
      proposal: repeat(100, draw(0.01, 0.02, 0)),
    });
    expect(rate).toMatchObject({ value: 0, low: 0 });
    expect(rate.high).toBeCloseTo(-Math.log(0.025) / 100, 9);
    expect(flaw).toMatch(/effective draws/);
  });

  test('a heavy-tailed proposal is flagged and left out', () => {
    const proposal = Array.from({ length: 400 }, (_, i) => draw(1e-3 * (400 / (i + 1)) ** 1.5, 1e-3, 1));
    const reference = [...repeat(380, draw(1e-3, 1e-3, 0)), ...repeat(20, draw(1e-3, 1e-3, 1))];
    const { rate, plain, paretoK, flaw } = referenceFailureRate({ reference, proposal });
    expect(paretoK.value).toBeGreaterThan(0.7);
    expect(flaw).toMatch(/k-hat/);
    expect([rate.value, rate.low, rate.high]).toEqual([plain.value, plain.low, plain.high]);
    expect(rate.method).toMatch(/attacker left out: k-hat/);
  });

  test('the rate is that among scored attacks; none scored is null', () => {
    const reference = [
      ...repeat(50, draw(0.1, 0.1, null)),
      ...repeat(25, draw(0.1, 0.1, 1)),
      ...repeat(25, draw(0.1, 0.1, 0)),
    ];
    expect(referenceFailureRate({ reference, proposal: reference }).rate.value).toBeCloseTo(0.5, 12);
    const unknown = repeat(10, draw(0.1, 0.1, null));
    expect(referenceFailureRate({ reference: unknown, proposal: unknown }).rate.value).toBeNull();
    expect(referenceFailureRate({ reference: [], proposal: [] }).rate.value).toBeNull();
  });

  test('log-probs that differ by thousands stay finite', () => {
    const far: ReferenceDraw = { logPRef: -2000, logPi: -10, failure: 1 };
    const near: ReferenceDraw = { logPRef: -10, logPi: -2000, failure: 1 };
    const { rate, effectiveSize } = referenceFailureRate({ reference: repeat(20, near), proposal: repeat(20, far) });
    expect(rate.value).toBeCloseTo(1, 12);
    expect(effectiveSize.value).toBeCloseTo(20, 9);
  });
});

test('plain sampling: share, gamma interval, unscored attacks left out', () => {
  const measure = plainFailureRate([0, 0, 0, 0.2, null, 1]);
  expect(measure).toMatchObject({ n: 5, confidence: 0.95 });
  expect(measure.value).toBeCloseTo(0.24, 12);
  expect(plainFailureRate([null]).value).toBeNull();
});
