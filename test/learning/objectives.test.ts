import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contrastiveBalance, countPairs } from '../../src/learning/objectives/contrastive-balance.ts';
import { type OnePassObjective, residuals } from '../../src/learning/objectives/objective.ts';
import { trajectoryBalance } from '../../src/learning/objectives/trajectory-balance.ts';
import { varGrad } from '../../src/learning/objectives/vargrad.ts';

const objectives: readonly OnePassObjective[] = [
  trajectoryBalance(),
  trajectoryBalance({ huber: 3 }),
  varGrad(),
  varGrad({ huber: 2 }),
  contrastiveBalance({ sigma: 0.5, huber: 1 }),
  contrastiveBalance({ sigma: 0, huber: 0.3 }),
];
const value = fc.double({ min: -20, max: 20, noNaN: true });
const batch = fc
  .integer({ min: 2, max: 6 })
  .chain((n) =>
    fc.tuple(fc.array(value, { minLength: n, maxLength: n }), fc.array(value, { minLength: n, maxLength: n }), value),
  );

describe.each(objectives)('$name, pairs clipped at $pairClip, rows at $rowClip', (objective) => {
  test('the residual gradient is the slope of the loss', () => {
    fc.assert(
      fc.property(batch, ([logProbs, logRewards, logZ]) => {
        const gradient = objective.gradient(logProbs, logRewards, logZ);
        const h = 1e-5;
        for (const i of logProbs.keys()) {
          const at = (shift: number) =>
            objective.loss(logProbs.with(i, (logProbs[i] as number) + shift), logRewards, logZ);
          const numeric = (at(h) - at(-h)) / (2 * h);
          expect(Math.abs(numeric - (gradient[i] as number))).toBeLessThan(1e-4);
        }
      }),
      { seed: 1, numRuns: 100 },
    );
  });

  test('the weights of one batch give the same gradient', () => {
    fc.assert(
      fc.property(batch, ([logProbs, logRewards, logZ]) => {
        const { pairWeight, rowWeight, directWeight } = objective.batchWeights(logRewards);
        const delta = residuals(logProbs, logRewards);
        const n = delta.length;
        const clipped = (x: number, bound = Number.POSITIVE_INFINITY) => Math.max(-bound, Math.min(bound, x));
        const expected = objective.gradient(logProbs, logRewards, logZ);
        for (let i = 0; i < n; i++) {
          let sum =
            (rowWeight[i] as number) * clipped((delta[i] as number) + logZ, objective.rowClip) +
            (directWeight[i] as number);
          for (let j = 0; j < n; j++) {
            const difference = (delta[i] as number) - (delta[j] as number);
            sum += (pairWeight[i * n + j] as number) * clipped(difference, objective.pairClip);
          }
          expect(Math.abs(sum - (expected[i] as number))).toBeLessThan(1e-4); // the weights are float32
        }
      }),
      { seed: 2, numRuns: 100 },
    );
  });

  test('is zero, with zero slope, when the policy is proportional to the reward', () => {
    const logRewards = [-3, -1, 2, 0.5];
    const logZ = 7;
    const logProbs = logRewards.map((logReward) => logReward - logZ);
    expect(objective.loss(logProbs, logRewards, logZ)).toBeCloseTo(0, 12);
    for (const slope of objective.gradient(logProbs, logRewards, logZ)) expect(slope).toBeCloseTo(0, 12);
  });
});

test('pairs closer in reward than sigma are masked', () => {
  const logRewards = [0, 0.3, 1];
  expect(countPairs(0.5, logRewards)).toBe(2);
  expect(countPairs(0, logRewards)).toBe(3);
  const { pairWeight } = contrastiveBalance({ sigma: 0.5, huber: 1 }).batchWeights(logRewards);
  expect(pairWeight[1]).toBe(0);
  expect(pairWeight[2]).toBe(0.5);
});

test('all pairs masked: no loss and no division by zero', () => {
  const objective: OnePassObjective = contrastiveBalance({ sigma: 5, huber: 1 });
  expect(objective.loss([1, 2], [0, 0.1], 0)).toBe(0);
  expect([...objective.gradient([1, 2], [0, 0.1], 0)]).toEqual([0, 0]);
});

describe('a bounded residual', () => {
  const logRewards = [-1, -2, -3, -140];
  const logProbs = [-2, -1.5, -3.5, -2]; // the last is 138 nats too likely

  test.each([
    [trajectoryBalance, 2 / 4],
    [varGrad, 2 / 4],
  ])('%o: an outlier pulls with the bound, and the squared one with its distance', (create, weight) => {
    const slopes = (huber: number) => create({ huber }).gradient(logProbs, logRewards, 0);
    const plain = create().gradient(logProbs, logRewards, 0);
    expect(plain[3]).toBeGreaterThan(50);
    expect(slopes(5)[3]).toBeLessThanOrEqual(weight * 5);
    expect(Math.max(...slopes(5).map(Math.abs))).toBeLessThanOrEqual(weight * 5);
    // A bound that no residual reaches changes nothing.
    for (const [i, slope] of slopes(1000).entries()) expect(slope).toBeCloseTo(plain[i] as number, 10);
    expect(create({ huber: 1000 }).loss(logProbs, logRewards, 0)).toBeCloseTo(
      create().loss(logProbs, logRewards, 0),
      8,
    );
  });
});
