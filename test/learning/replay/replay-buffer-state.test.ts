import fc from 'fast-check';
import { expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { createReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import { restoreReplayBuffer, serialiseReplayBuffer } from '../../../src/learning/replay/replay-buffer-state.ts';
import { arbitraryCandidate, candidateOf, logRewardAt } from './replay-buffer-model.ts';

const logReward = logRewardAt(1);
const throughJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test('a buffer restored from JSON goes on exactly as the original', () => {
  const options = { capacity: 8, nearEditRatio: 0.2, nearCosine: 0.8 };
  const run = fc.property(
    fc.array(arbitraryCandidate, { maxLength: 40 }),
    fc.array(arbitraryCandidate, { maxLength: 40 }),
    (before, after) => {
      const original = createReplayBuffer(options);
      for (const candidate of before) original.insert(candidate, logReward);
      const restored = restoreReplayBuffer(throughJson(serialiseReplayBuffer(original)));
      expect(restored.contents()).toStrictEqual(original.contents());
      for (const candidate of after) {
        expect(restored.insert(candidate, logReward)).toEqual(original.insert(candidate, logReward));
      }
      const draw = (buffer: typeof original) =>
        buffer.sample(4, { by: 'reward', logReward, stream: randomStream(1, 'draw') }).map(({ id }) => id);
      expect(draw(restored)).toEqual(draw(original));
      expect(restored.contents()).toStrictEqual(original.contents());
    },
  );
  fc.assert(run, { numRuns: 200, seed: 4 });
});

test('an exact duplicate does not enter again after a resume', () => {
  const buffer = createReplayBuffer({ nearEditRatio: null });
  buffer.insert(candidateOf([4, 5, 6]), logReward);
  const restored = restoreReplayBuffer(throughJson(serialiseReplayBuffer(buffer)));
  expect(restored.insert(candidateOf([4, 5, 6]), logReward).kind).toBe('duplicate-averaged');
  expect(restored.size).toBe(1);
});

test('embeddings keep their bits and later writes to the caller’s batch do not reach them', () => {
  const batch = Float32Array.of(0, 0, Math.fround(0.6), Math.fround(0.8));
  const buffer = createReplayBuffer({ nearCosine: 0.4 });
  buffer.insert(candidateOf([1], { embedding: batch.subarray(2) }), logReward);
  batch.fill(0);
  const restored = restoreReplayBuffer(throughJson(serialiseReplayBuffer(buffer)));
  expect(restored.get(1)?.embedding).toEqual(Float32Array.of(Math.fround(0.6), Math.fround(0.8)));
});

test('a mean of log 1 written as -0 survives JSON', () => {
  const buffer = createReplayBuffer();
  buffer.insert(candidateOf([1, 2], { logS: -0 }), logReward);
  expect(restoreReplayBuffer(throughJson(serialiseReplayBuffer(buffer))).contents()).toStrictEqual(buffer.contents());
});

test('what a caller adds to a candidate is not stored', () => {
  const buffer = createReplayBuffer();
  buffer.insert({ ...candidateOf([1, 2]), extra: Number.NaN } as ReturnType<typeof candidateOf>, logReward);
  const restored = restoreReplayBuffer(throughJson(serialiseReplayBuffer(buffer)));
  expect(restored.all()).toStrictEqual([{ ...candidateOf([1, 2]), id: 1 }]);
});

test('damaged states are refused', () => {
  const buffer = createReplayBuffer({ nearEditRatio: null });
  buffer.insert(candidateOf([1]), logReward);
  buffer.insert(candidateOf([2]), logReward);
  const state = serialiseReplayBuffer(buffer);
  const first = state.entries[0];
  const broken: unknown[] = [
    null,
    { ...state, version: 'two' },
    { ...state, version: undefined },
    { ...state, nextId: 2 },
    { ...state, options: { ...state.options, capacity: 1 } },
    { ...state, entries: [first, first] },
    { ...state, entries: [first, { ...first, id: 2 }] },
    { ...state, entries: [{ ...first, score: { ...first?.score, logS: 'high' } }] },
    { ...state, entries: [{ ...first, embedding: 'AAA=' }] },
    { ...state, entries: [{ ...first, tokens: [-1] }] },
  ];
  for (const each of broken) expect(() => restoreReplayBuffer(each)).toThrow(/saved state is damaged/);
});

test.each([1, 3])('a state of version %i is refused with what to do, not called damaged', (version) => {
  const buffer = createReplayBuffer();
  buffer.insert(candidateOf([1]), logReward);
  expect(() => restoreReplayBuffer({ ...serialiseReplayBuffer(buffer), version })).toThrow(
    expect.objectContaining({
      code: 'run',
      message: `restore replay buffer: got state version ${version}, expected 2`,
      hint: expect.stringMatching(/resume with that version, or start the run again/),
    }),
  );
});
