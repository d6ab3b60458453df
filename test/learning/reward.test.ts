import { describe, expect, test } from 'vitest';
import { scheduleAt } from '../../src/engine/optimizer/schedules.ts';
import { type CollectedAttack, collectionWeights } from '../../src/learning/loops/collection-weights.ts';
import { fluencyTerm } from '../../src/learning/reward/fluency.ts';
import { judgeScore, logRewardAt } from '../../src/learning/reward/reward.ts';

describe('schedule', () => {
  test('moves linearly and then stays', () => {
    const schedule = { from: 2, to: 1, updates: 4 };
    expect([0, 1, 2, 4, 9].map((update) => scheduleAt(schedule, update))).toEqual([2, 1.75, 1.5, 1, 1]);
    expect(scheduleAt({ from: 2, to: 1, updates: 0 }, 0)).toBe(1);
  });
});

describe('log reward', () => {
  test('is (fluency / gamma + logS / beta) / T under the schedules of its update', () => {
    const rule = { beta: 0.1, gamma: { from: 1, to: 2, updates: 2 }, temperature: { from: 2, to: 1, updates: 2 } };
    expect(logRewardAt(rule, 0)(-30, -2)).toBe((-30 - 20) / 2);
    expect(logRewardAt(rule, 1)(-30, -2)).toBeCloseTo((-30 / 1.5 - 20) / 1.5, 12);
    expect(logRewardAt(rule, 5)(-30, -2)).toBe(-15 - 20);
  });

  test('the judge enters by the geometric mean, success by the arithmetic one, floored', () => {
    const score = judgeScore([1, 0], 1e-6);
    expect(score?.logS).toBeCloseTo(Math.log(1e-6) / 2, 12);
    expect(score?.meanUnsafe).toBe(0.5);
    expect(score?.responses).toBe(2);
    expect(judgeScore([], 1e-6)).toBeUndefined();
  });
});

describe('fluency', () => {
  const rule = { minTokens: 3, shortPenalty: -500 };
  const reference = { tokenLogProbs: Float32Array.of(-1, -2, -12, -1), tokens: 3 };

  test('sum counts every factor, the end token among them', () => {
    expect(fluencyTerm({ ...rule, form: { kind: 'sum' } }, reference)).toBe(-16);
  });

  test('mean divides by the factors', () => {
    expect(fluencyTerm({ ...rule, form: { kind: 'mean' } }, reference)).toBe(-4);
  });

  test('capped pays nothing for being likelier than the cap', () => {
    const capped = (cap: number) => fluencyTerm({ ...rule, form: { kind: 'capped', cap } }, reference);
    expect(capped(-4)).toBe(0); // -16 over four factors is -4 each
    expect(capped(-5)).toBe(0);
    expect(capped(-3)).toBe(-4);
  });

  test('the gate closes on the mean of the k lowest', () => {
    const gate = { kind: 'min-k-gate', threshold: -7, penalty: -300 } as const;
    expect(fluencyTerm({ ...rule, form: { ...gate, k: 2 } }, reference)).toBe(0); // (-12 - 2) / 2 = -7
    expect(fluencyTerm({ ...rule, form: { ...gate, k: 1 } }, reference)).toBe(-300);
    expect(fluencyTerm({ ...rule, form: { ...gate, k: 9 } }, reference)).toBe(0); // all four when there are fewer
  });

  test('a short attack gets the penalty in every form', () => {
    expect(fluencyTerm({ ...rule, form: { kind: 'mean' } }, { ...reference, tokens: 2 })).toBe(-500);
  });
});

describe('weights of the collection', () => {
  const attack = (fluency: number): CollectedAttack => ({
    ids: [1],
    text: 'x',
    fluency,
    score: { logS: 0, meanUnsafe: 1, responses: 2 },
  });
  const attacks = [attack(-1), attack(-2), attack(-3)];
  const logReward = ({ fluency }: CollectedAttack): number => fluency;

  test('uniform', () => {
    expect(collectionWeights(attacks, { kind: 'uniform', clusterSizes: [], balance: 1, logReward })).toEqual([
      1 / 3,
      1 / 3,
      1 / 3,
    ]);
  });

  test('balanced gives every cluster the same share', () => {
    expect(collectionWeights(attacks, { kind: 'balanced', clusterSizes: [2, 2, 1], balance: 1, logReward })).toEqual([
      0.25, 0.25, 0.5,
    ]);
  });

  test('a balance between 0 and 1 lies between equal attacks and equal clusters', () => {
    const weightsAt = (balance: number) =>
      collectionWeights(attacks, { kind: 'balanced', clusterSizes: [4, 4, 1], balance, logReward });
    expect(weightsAt(0)).toEqual([1 / 3, 1 / 3, 1 / 3]);
    expect(weightsAt(0.5)).toEqual([0.25, 0.25, 0.5]);
  });

  test('reward is the posterior over distinct attacks', () => {
    const total = Math.exp(-1) + Math.exp(-2) + Math.exp(-3);
    const weights = collectionWeights(attacks, { kind: 'reward', clusterSizes: [], balance: 1, logReward });
    for (const [i, weight] of weights.entries()) expect(weight).toBeCloseTo(Math.exp(-1 - i) / total, 12);
  });

  test('reward is capped, and the rest keep their proportions', () => {
    const many = [attack(50), ...Array.from({ length: 99 }, (_, i) => attack(i % 2))];
    const weights = collectionWeights(many, { kind: 'reward', clusterSizes: [], balance: 1, logReward });
    expect(weights[0]).toBeCloseTo(0.2, 9);
    expect((weights[2] as number) / (weights[1] as number)).toBeCloseTo(Math.E, 9);
    expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
  });
});
