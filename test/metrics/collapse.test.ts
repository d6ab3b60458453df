import { describe, expect, test } from 'vitest';
import { batchDiversity, collapseAlarm, type TrainingSnapshot } from '../../src/metrics/collapse.ts';

/** `updates` snapshots that run linearly from the first values to the last. */
function ramp(updates: number, from: readonly number[], to: readonly number[]): TrainingSnapshot[] {
  return Array.from({ length: updates }, (_, update) => {
    const at = (i: number) => (from[i] ?? 0) + (((to[i] ?? 0) - (from[i] ?? 0)) * update) / (updates - 1);
    return { update, meanUnsafe: at(0), uniqueShare: at(1), meanTokenDistance: at(2) };
  });
}

describe('collapse alarm', () => {
  test('a run that learns and stays diverse is healthy', () => {
    expect(collapseAlarm(ramp(200, [0.05, 1, 0.9], [0.8, 0.95, 0.8])).kind).toBe('healthy');
  });

  test('few different attacks in a batch raise it', () => {
    expect(collapseAlarm(ramp(60, [0.5, 0.4, 0.8], [0.5, 0.4, 0.8]))).toMatchObject({
      kind: 'collapse',
      reasons: ['few-unique'],
    });
  });

  test('different attacks that say nearly the same raise it', () => {
    expect(collapseAlarm(ramp(60, [0.5, 1, 0.2], [0.5, 1, 0.2]))).toMatchObject({
      kind: 'collapse',
      reasons: ['too-alike'],
    });
  });

  test('reward up with diversity down raises it before either floor is reached', () => {
    const verdict = collapseAlarm(ramp(200, [0.1, 1, 0.9], [0.9, 0.9, 0.4]));
    expect(verdict).toMatchObject({
      kind: 'collapse',
      reasons: ['reward-up-diversity-down'],
      best: { fromUpdate: 0, toUpdate: 19 },
    });
  });

  test('diversity down without a gain is another trouble, and no alarm', () => {
    expect(collapseAlarm(ramp(200, [0.5, 1, 0.9], [0.5, 0.9, 0.4])).kind).toBe('healthy');
  });

  test('the reference is the best earlier window, not the first', () => {
    const history = [...ramp(40, [0.1, 1, 0.5], [0.1, 1, 0.9]), ...ramp(80, [0.1, 1, 0.9], [0.8, 1, 0.42])];
    const verdict = collapseAlarm(history.map((snapshot, update) => ({ ...snapshot, update })));
    expect(verdict).toMatchObject({ reasons: ['reward-up-diversity-down'] });
  });

  test('windows do not overlap: a sudden drop is compared only after a whole earlier window', () => {
    const sudden = [...ramp(20, [0.1, 1, 0.9], [0.1, 1, 0.9]), ...ramp(19, [0.8, 1, 0.3], [0.8, 1, 0.3])];
    expect(collapseAlarm(sudden).kind).toBe('healthy');
    expect(collapseAlarm([...sudden, ...sudden.slice(-1)]).kind).toBe('collapse');
  });

  test('waits for a whole window, skips what was not measured, and forgets a collapse that healed', () => {
    expect(collapseAlarm(ramp(19, [0.5, 0.1, 0.1], [0.5, 0.1, 0.1]))).toEqual({ kind: 'warming-up' });
    const gaps = ramp(30, [0.5, 1, 0.9], [0.5, 1, 0.9]).map((s) => ({
      ...s,
      meanTokenDistance: null,
      uniqueShare: null,
    }));
    expect(collapseAlarm(gaps).kind).toBe('healthy');
    const healed = [...ramp(30, [0.5, 0.1, 0.1], [0.5, 0.1, 0.1]), ...ramp(30, [0.5, 1, 0.9], [0.5, 1, 0.9])];
    expect(collapseAlarm(healed).kind).toBe('healthy');
    expect(() => collapseAlarm([], { window: 0 })).toThrow(/got 0/);
  });
});

describe('batch diversity', () => {
  test('counts different sequences and the mean relative edit distance over pairs', () => {
    // Pairs: equal (0), one of four replaced twice (0.25, 0.25).
    const batch = [
      [1, 2, 3, 4],
      [1, 2, 3, 4],
      [1, 2, 3, 9],
    ];
    expect(batchDiversity(batch)).toEqual({ uniqueShare: 2 / 3, meanTokenDistance: 0.5 / 3 });
  });

  test('distances are those of the first attacks whose pairs fit the limit', () => {
    const batch = [
      [1, 2],
      [1, 3],
      [4, 5],
      [1, 2],
    ];
    const first = batchDiversity(batch.slice(0, 3));
    expect(batchDiversity(batch, 12)).toEqual({ uniqueShare: 3 / 4, meanTokenDistance: first.meanTokenDistance });
    expect(batchDiversity(batch, 3)).toEqual({ uniqueShare: 3 / 4, meanTokenDistance: null });
    expect(batchDiversity(batch, 24)).toEqual(batchDiversity(batch));
  });

  test('small batches are null where nothing can be said', () => {
    expect(batchDiversity([])).toEqual({ uniqueShare: null, meanTokenDistance: null });
    expect(batchDiversity([[1]])).toEqual({ uniqueShare: 1, meanTokenDistance: null });
    expect(batchDiversity([[], []])).toEqual({ uniqueShare: 0.5, meanTokenDistance: 0 });
  });
});
