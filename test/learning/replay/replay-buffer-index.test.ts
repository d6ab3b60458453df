import { describe, expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { editDistance, TokenNeighbourIndex } from '../../../src/learning/replay/near-duplicates.ts';
import { createReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import { candidateOf, logRewardAt } from './replay-buffer-model.ts';

/** Sequences of 5..20 tokens from a Zipf-like vocabulary of 2,000: common words are in many of them. */
function zipfSequences(count: number, seed: number): number[][] {
  const stream = randomStream(seed, 'sequences');
  return Array.from({ length: count }, () =>
    Array.from({ length: 5 + stream.nextInt(16) }, () => Math.floor(2000 ** stream.nextFloat()) - 1),
  );
}

describe('token neighbours among 2,000 sequences', () => {
  const stored = zipfSequences(2000, 1);
  // Half of the queries are mutated copies, so that there is something to find.
  const queries = [...zipfSequences(60, 2), ...stored.slice(0, 60).map((tokens) => [...tokens.slice(1), 1999])];

  test('the nearest is that of a full scan, though few sequences are looked at', () => {
    const index = new TokenNeighbourIndex(0.25);
    for (const [slot, tokens] of stored.entries()) index.set(slot, slot, tokens);
    let looked = 0;
    let found = 0;
    for (const query of queries) {
      const nearest = stored
        .map((tokens, slot) => ({
          slot,
          closeness: editDistance(query, tokens) / (0.25 * (query.length + tokens.length)),
        }))
        .filter(({ closeness }) => closeness < 1)
        .sort((a, b) => a.closeness - b.closeness || a.slot - b.slot)[0];
      expect(index.nearest(query)?.slot).toBe(nearest?.slot);
      found += nearest === undefined ? 0 : 1;
      looked += index.candidateSlots(query).size;
    }
    expect(found).toBeGreaterThanOrEqual(60);
    // The scan this replaces looks at all 2,000 for every query.
    expect(looked / queries.length).toBeLessThan(0.25 * stored.length);
  });

  test('what a slot held before is forgotten', () => {
    const index = new TokenNeighbourIndex(0.25);
    for (const [turn, tokens] of stored.entries()) index.set(turn % 3, turn, tokens);
    const present = stored.slice(-3).flat();
    const absent = stored.flat().filter((token) => !present.includes(token));
    expect(index.candidateSlots(absent).size).toBe(0);
  });
});

test('a reward that moved re-orders the buffer: the lowest under the present schedules goes', () => {
  const buffer = createReplayBuffer({ capacity: 2, evictBy: 'reward', nearEditRatio: null });
  const fluent = candidateOf([1], { fluency: -10, logS: -2 });
  const unsafe = candidateOf([2], { fluency: -40, logS: 0 });
  buffer.insert(fluent, logRewardAt(1)); // -30
  buffer.insert(unsafe, logRewardAt(1)); // -40: the lowest at gamma 1, the highest at gamma 10
  const outcome = buffer.insert(candidateOf([3], { fluency: 0, logS: -1.5 }), logRewardAt(10));
  expect(outcome).toEqual({ kind: 'inserted-evicting', id: 3, evicted: 1 });
});

test('a cosine exactly at the threshold is no near-duplicate', () => {
  const buffer = createReplayBuffer({ nearEditRatio: null, nearCosine: 0 });
  buffer.insert(candidateOf([1], { embedding: Float32Array.of(1, 0) }), logRewardAt(1));
  expect(buffer.insert(candidateOf([2], { embedding: Float32Array.of(0, 1) }), logRewardAt(1)).kind).toBe('inserted');
});
