import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { chooseToken, type TokenFilter } from '../../src/models/decoder/choose-token.ts';

function softmax(size: number, spread: number, seed: number): Float32Array {
  const stream = randomStream(seed, 'logits');
  const weights = Array.from({ length: size }, () => Math.exp(spread * stream.nextNormal()));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Float32Array.from(weights, (weight) => weight / total);
}

/** The plain definition: sort everything, cut, renormalise, walk in the order of ids. */
function reference(probabilities: Float32Array, { topK, topP }: TokenFilter, u: number): number {
  let sorted = [...probabilities.keys()].sort(
    (a, b) => (probabilities[b] as number) - (probabilities[a] as number) || a - b,
  );
  if (topK > 0) sorted = sorted.slice(0, topK);
  const total = topK > 0 ? sorted.reduce((sum, id) => sum + (probabilities[id] as number), 0) : 1;
  const kept: number[] = [];
  let mass = 0;
  for (const id of sorted) {
    if (kept.length > 0 && mass >= topP * total) break;
    kept.push(id);
    mass += probabilities[id] as number;
  }
  let cumulative = 0;
  for (const id of kept.sort((a, b) => a - b)) {
    cumulative += probabilities[id] as number;
    if (cumulative > u * mass) return id;
  }
  return kept.at(-1) as number;
}

describe('the token drawn equals that of the plain definition', () => {
  test.each([
    ['peaked', 6],
    ['ordinary', 3],
    ['flat', 0.3],
  ])('%s rows', (_name, spread) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 3000 }),
        fc.integer({ min: 0, max: 1e6 }),
        fc.constantFrom(0.1, 0.5, 0.9, 0.95),
        fc.constantFrom(0, 0, 1, 5, 50),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (size, seed, topP, topK, u) => {
          const probabilities = softmax(size, spread, seed);
          expect(chooseToken(probabilities, { topK, topP }, u)).toBe(reference(probabilities, { topK, topP }, u));
        },
      ),
      { seed: 3, numRuns: 150 },
    );
  });
});

test('without a filter tokens come in proportion to their probability', () => {
  const probabilities = Float32Array.of(0.5, 0, 0.25, 0.25);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 1000; i++)
    counts[chooseToken(probabilities, { topK: 0, topP: 1 }, i / 1000)] =
      (counts[chooseToken(probabilities, { topK: 0, topP: 1 }, i / 1000)] ?? 0) + 1;
  expect(counts).toEqual([500, 0, 250, 250]);
});

test('a row that sums to just under 1 still gives a possible token', () => {
  expect(chooseToken(Float32Array.of(0.4, 0.5, 0), { topK: 0, topP: 1 }, 0.99)).toBe(1);
});

test('a flat row whose mass rounds to less than top-p keeps every possible token, and no other', () => {
  const probabilities = new Float32Array(4000).fill(0.9 / 3999);
  probabilities[3999] = 0;
  expect(chooseToken(probabilities, { topK: 0, topP: 0.95 }, 0.99999)).toBe(3998);
});
