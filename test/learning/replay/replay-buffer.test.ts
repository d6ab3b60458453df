import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { createReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import { REPLAY_BUFFER_DEFAULTS } from '../../../src/learning/replay/replay-entry.ts';
import { arbitraryCandidate, candidateOf, logRewardAt, ScanningBuffer } from './replay-buffer-model.ts';

const logReward = logRewardAt(1);

describe('replay buffer against a full-scan model', () => {
  const rules = fc.record({
    capacity: fc.integer({ min: 1, max: 12 }),
    evictBy: fc.constantFrom('judge' as const, 'reward' as const),
    replaceBy: fc.constantFrom('judge' as const, 'reward' as const),
    rescore: fc.constantFrom('average' as const, 'keep-higher' as const),
    nearEditRatio: fc.constantFrom(null, 0.1, 0.25, 0.3, 0.5, 0.7),
    nearCosine: fc.constantFrom(null, 0.4, 0.9),
  });

  test('every outcome and the final entries are those of the model, and capacity is never passed', () => {
    const schedule = [logRewardAt(1), logRewardAt(1.2), logRewardAt(30)];
    const run = fc.property(rules, fc.array(arbitraryCandidate, { maxLength: 80 }), (options, candidates) => {
      const buffer = createReplayBuffer(options);
      const model = new ScanningBuffer(options);
      candidates.forEach((candidate, i) => {
        // The reward moves every ten insertions, as it does from update to update.
        const rewardNow = schedule[Math.floor(i / 10) % schedule.length] ?? logReward;
        expect(buffer.insert(candidate, rewardNow)).toEqual(model.insert(candidate, rewardNow));
        expect(buffer.size).toBeLessThanOrEqual(options.capacity);
      });
      const bare = ({ id, tokens, score }: (typeof model.entries)[number]) => [id, tokens, score.logS, score.responses];
      expect(buffer.all().map(bare)).toEqual(model.entries.map(bare));
      expect(Object.values(buffer.counts).reduce((a, b) => a + b, 0)).toBe(candidates.length);
    });
    fc.assert(run, { numRuns: 400, seed: 3 });
  });
});

describe('near-duplicates', () => {
  // Two stored neighbours; the candidate is near both (limit 0.25 * 20 = 5) and nearer the second.
  const far = candidateOf([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], { logS: -2 });
  const close = candidateOf([1, 2, 3, 4, 5, 6, 27, 28, 29, 30], { logS: -2 });
  const between = [1, 2, 3, 4, 5, 6, 7, 28, 29, 30];

  test('the nearest neighbour is replaced, not the first found, and only by a strictly higher reward', () => {
    // far and close differ in 4 of 10: kept apart by a ratio under 0.2.
    const buffer = createReplayBuffer({ nearEditRatio: 0.18 });
    buffer.insert(far, logReward);
    buffer.insert(close, logReward);
    expect(buffer.size).toBe(2);
    expect(buffer.insert(candidateOf(between, { logS: -2 }), logReward)).toEqual({
      kind: 'near-duplicate-rejected',
      nearest: 2,
    });
    expect(buffer.insert(candidateOf(between, { logS: -1 }), logReward)).toEqual({
      kind: 'replaced',
      id: 3,
      replaced: 2,
    });
    expect(buffer.all().map(({ id }) => id)).toEqual([1, 3]);
  });

  test('at equal distance the older neighbour is the nearest', () => {
    const buffer = createReplayBuffer({ nearEditRatio: 0.19 });
    buffer.insert(far, logReward);
    buffer.insert(close, logReward);
    const middle = candidateOf([1, 2, 3, 4, 5, 6, 7, 8, 29, 30], { logS: 0 });
    expect(buffer.insert(middle, logReward)).toEqual({ kind: 'replaced', id: 3, replaced: 1 });
  });

  test('equal rewards of different attacks never confuse which one goes', () => {
    const buffer = createReplayBuffer();
    buffer.insert(candidateOf([1, 1, 1, 1, 1, 1, 1, 1]), logReward);
    buffer.insert(candidateOf([2, 2, 2, 2, 2, 2, 2, 2]), logReward);
    buffer.insert(candidateOf([2, 2, 2, 2, 2, 2, 2, 3], { logS: -0.5 }), logReward);
    expect(buffer.all().map(({ tokens }) => tokens[0])).toEqual([1, 2]);
  });
});

describe('the same sequence again', () => {
  test('scores are averaged over all responses', () => {
    const buffer = createReplayBuffer();
    buffer.insert(candidateOf([1, 2, 3], { logS: -4, meanUnsafe: 0.2, responses: 3 }), logReward);
    const outcome = buffer.insert(candidateOf([1, 2, 3], { logS: 0, meanUnsafe: 1, responses: 1 }), logReward);
    expect(outcome).toEqual({ kind: 'duplicate-averaged', id: 1 });
    expect(buffer.get(1)).toMatchObject({ score: { logS: -3, meanUnsafe: 0.4, responses: 4 } });
  });

  test('an entry that sank through averaging is the next to go', () => {
    const buffer = createReplayBuffer({ capacity: 2, evictBy: 'judge', nearEditRatio: null });
    buffer.insert(candidateOf([1], { logS: -1 }), logReward);
    buffer.insert(candidateOf([2], { logS: -2 }), logReward);
    expect(buffer.rescore(1, { logS: -9, meanUnsafe: 0, responses: 6 })).toBe(true);
    const outcome = buffer.insert(candidateOf([3], { logS: -1.5 }), logReward);
    expect(outcome).toEqual({ kind: 'inserted-evicting', id: 3, evicted: 1 });
    expect(buffer.rescore(1, { logS: -1, meanUnsafe: 0, responses: 1 })).toBe(false);
  });
});

describe('what cannot be stored', () => {
  test.each([
    ['NaN logS', { logS: Number.NaN }],
    ['infinite fluency', { fluency: Number.NEGATIVE_INFINITY }],
    ['no responses', { responses: 0 }],
  ])('%s is refused and leaves the buffer unchanged', (_name, broken) => {
    const buffer = createReplayBuffer();
    expect(() => buffer.insert(candidateOf([1], broken), logReward)).toThrow(/replay buffer/);
    expect(buffer.size).toBe(0);
  });

  test('embeddings must be there, of one width, and of length 1', () => {
    const buffer = createReplayBuffer({ nearCosine: 0.4 });
    buffer.insert(candidateOf([1], { embedding: Float32Array.of(1, 0) }), logReward);
    expect(() => buffer.insert(candidateOf([2]), logReward)).toThrow(/got none/);
    expect(() => buffer.insert(candidateOf([2], { embedding: Float32Array.of(1) }), logReward)).toThrow(/width 1/);
    expect(() => buffer.insert(candidateOf([2], { embedding: Float32Array.of(3, 4) }), logReward)).toThrow(/length 5/);
    expect(() => buffer.insert(candidateOf([2], { embedding: Float32Array.of(Number.NaN, 0) }), logReward)).toThrow(
      /NaN/,
    );
  });

  test.each([{ capacity: 0 }, { nearEditRatio: 1 }, { nearCosine: 1 }, { nearEditRatio: Number.NaN }])(
    'options %j',
    (options) => {
      expect(() => createReplayBuffer(options)).toThrow(/expected/);
    },
  );
});

describe('sampling', () => {
  const buffer = createReplayBuffer({ nearEditRatio: null });
  // logS = log of 1..4, logR = the reverse order.
  for (const k of [1, 2, 3, 4])
    buffer.insert(candidateOf([k], { logS: Math.log(k), fluency: -Math.log(k) }), logReward);
  const reverse = ({ fluency }: { fluency: number }) => fluency;

  /** Chi-square of the first draw against `weights`; 3 degrees of freedom, 16.27 is the 0.001 point. */
  function chiSquare(by: 'judge' | 'reward' | 'uniform', weights: readonly number[]): number {
    const draws = 8000;
    const stream = randomStream(5, 'sampling', by);
    const seen = [0, 0, 0, 0];
    for (let i = 0; i < draws; i++) {
      const first = buffer.sample(2, { by, logReward: reverse, stream })[0]?.tokens[0] ?? 0;
      seen[first - 1] = (seen[first - 1] ?? 0) + 1;
    }
    const total = weights.reduce((a, b) => a + b, 0);
    return weights.reduce((sum, w, i) => sum + ((seen[i] ?? 0) - (draws * w) / total) ** 2 / ((draws * w) / total), 0);
  }

  test.each([
    ['judge' as const, [1, 2, 3, 4]],
    ['reward' as const, [1, 1 / 2, 1 / 3, 1 / 4]],
    ['uniform' as const, [1, 1, 1, 1]],
  ])('by %s the first draw has its softmax frequencies', (by, weights) => {
    expect(chiSquare(by, weights)).toBeLessThan(16.27);
  });

  test('pairs come without replacement, with the frequencies of successive draws', () => {
    const stream = randomStream(6, 'pairs');
    const draws = 12000;
    const seen = new Map<string, number>();
    for (let i = 0; i < draws; i++) {
      const [a, b] = buffer.sample(2, { by: 'judge', logReward, stream }).map(({ tokens }) => tokens[0]);
      seen.set(`${a}${b}`, (seen.get(`${a}${b}`) ?? 0) + 1);
    }
    let chi = 0;
    for (const a of [1, 2, 3, 4]) {
      for (const b of [1, 2, 3, 4]) {
        if (a === b) continue;
        const expected = draws * (a / 10) * (b / (10 - a));
        chi += ((seen.get(`${a}${b}`) ?? 0) - expected) ** 2 / expected;
      }
    }
    expect(seen.has('11')).toBe(false);
    expect(chi).toBeLessThan(31.26); // 11 degrees of freedom, 0.001 point
  });

  test('a batch larger than the buffer gives every entry once; an empty buffer gives none', () => {
    const stream = randomStream(7, 'all');
    const all = buffer.sample(50, { by: 'judge', logReward, stream });
    expect(all.map(({ id }) => id).sort()).toEqual([1, 2, 3, 4]);
    expect(createReplayBuffer().sample(8, { by: 'judge', logReward, stream })).toEqual([]);
  });

  test('weights far below the smallest double still order the draws', () => {
    const deep = createReplayBuffer({ nearEditRatio: null });
    deep.insert(candidateOf([1], { logS: -5000 }), logReward);
    deep.insert(candidateOf([2], { logS: -4000 }), logReward);
    const stream = randomStream(8, 'deep');
    expect(deep.sample(1, { by: 'judge', logReward, stream })[0]?.tokens).toEqual([2]);
  });
});

test('defaults are the paper rule by tokens', () => {
  expect(createReplayBuffer().options).toEqual(REPLAY_BUFFER_DEFAULTS);
  expect(REPLAY_BUFFER_DEFAULTS.nearEditRatio).toBe(0.25);
});
