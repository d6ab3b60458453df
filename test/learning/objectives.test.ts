import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  countPairs,
  type Objective,
  objectiveLoss,
  residualGradient,
  residuals,
  singleBatchWeights,
} from '../../src/learning/objectives/objectives.ts';

const objectives: readonly Objective[] = [
  { kind: 'tb' },
  { kind: 'vargrad' },
  { kind: 'ctb', sigma: 0.5, huber: 1 },
  { kind: 'ctb', sigma: 0, huber: 0.3 },
];
const value = fc.double({ min: -20, max: 20, noNaN: true });
const batch = fc
  .integer({ min: 2, max: 6 })
  .chain((n) =>
    fc.tuple(fc.array(value, { minLength: n, maxLength: n }), fc.array(value, { minLength: n, maxLength: n }), value),
  );

describe.each(objectives)('$kind $sigma', (objective) => {
  test('the residual gradient is the slope of the loss', () => {
    fc.assert(
      fc.property(batch, ([logProbs, logRewards, logZ]) => {
        const gradient = residualGradient(objective, logProbs, logRewards, logZ);
        const h = 1e-5;
        for (const i of logProbs.keys()) {
          const at = (shift: number) =>
            objectiveLoss(objective, logProbs.with(i, (logProbs[i] as number) + shift), logRewards, logZ);
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
        const { pairWeight, rowWeight, directWeight } = singleBatchWeights(objective, logRewards);
        const delta = residuals(logProbs, logRewards);
        const n = delta.length;
        const clip = objective.kind === 'ctb' ? objective.huber : Number.POSITIVE_INFINITY;
        const expected = residualGradient(objective, logProbs, logRewards, logZ);
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
    expect(objectiveLoss(objective, logProbs, logRewards, logZ)).toBeCloseTo(0, 12);
    for (const slope of residualGradient(objective, logProbs, logRewards, logZ)) expect(slope).toBeCloseTo(0, 12);
  });
});

test('pairs closer in reward than sigma are masked', () => {
  const logRewards = [0, 0.3, 1];
  expect(countPairs({ kind: 'ctb', sigma: 0.5, huber: 1 }, logRewards)).toBe(2);
  expect(countPairs({ kind: 'ctb', sigma: 0, huber: 1 }, logRewards)).toBe(3);
  const { pairWeight } = singleBatchWeights({ kind: 'ctb', sigma: 0.5, huber: 1 }, logRewards);
  expect(pairWeight[1]).toBe(0);
  expect(pairWeight[2]).toBe(0.5);
});

test('all pairs masked: no loss and no division by zero', () => {
  const objective: Objective = { kind: 'ctb', sigma: 5, huber: 1 };
  expect(objectiveLoss(objective, [1, 2], [0, 0.1], 0)).toBe(0);
  expect([...residualGradient(objective, [1, 2], [0, 0.1], 0)]).toEqual([0, 0]);
});
