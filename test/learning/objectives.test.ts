import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contrastiveBalance, countPairs } from '../../src/learning/objectives/contrastive-balance.ts';
import { type OnePassObjective, residuals } from '../../src/learning/objectives/objective.ts';
import { trajectoryBalance } from '../../src/learning/objectives/trajectory-balance.ts';
import { varGrad } from '../../src/learning/objectives/vargrad.ts';

const objectives: readonly OnePassObjective[] = [
  trajectoryBalance(),
  varGrad(),
  contrastiveBalance({ sigma: 0.5, huber: 1 }),
  contrastiveBalance({ sigma: 0, huber: 0.3 }),
];
const value = fc.double({ min: -20, max: 20, noNaN: true });
const batch = fc
  .integer({ min: 2, max: 6 })
  .chain((n) =>
    fc.tuple(fc.array(value, { minLength: n, maxLength: n }), fc.array(value, { minLength: n, maxLength: n }), value),
  );

describe.each(objectives)('$name $pairClip', (objective) => {
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
        const clip = objective.pairClip ?? Number.POSITIVE_INFINITY;
        const expected = objective.gradient(logProbs, logRewards, logZ);
        for (let i = 0; i < n; i++) {
          let sum = (rowWeight[i] as number) * ((delta[i] as number) + logZ) + (directWeight[i] as number);
          for (let j = 0; j < n; j++) {
            const difference = (delta[i] as number) - (delta[j] as number);
            sum += (pairWeight[i * n + j] as number) * Math.max(-clip, Math.min(clip, difference));
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
