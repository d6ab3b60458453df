import { expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { MeaningCoverage } from '../../../src/learning/proposals/meaning-coverage.ts';

/** A direction of the plane. */
const at = (degrees: number) =>
  Float32Array.of(Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180));

function order(embeddings: readonly Float32Array[]): number[] {
  const coverage = new MeaningCoverage<number>(embeddings.length);
  for (const [i, embedding] of embeddings.entries()) coverage.add(i, embedding);
  const taken = embeddings.map(() => coverage.take() as number);
  expect(coverage.take()).toBeUndefined();
  return taken;
}

test('takes the candidate that represents most, then one that nothing represents', () => {
  // Cosine 0.55 is 56.6 degrees: 1 and 2 cover each other, 0 covers both; 3 is alone.
  expect(order([at(0), at(-40), at(40), at(180)]).slice(0, 2)).toEqual([0, 3]);
});

test('once all are covered, those that were not taken are uncovered again; the earlier wins a tie', () => {
  expect(order([at(0), at(1), at(2), at(120), at(121)])).toEqual([0, 3, 1, 4, 2]);
});

test('has none without candidates', () => {
  expect(new MeaningCoverage<string>(0).take()).toBeUndefined();
});

test('is the plain greedy order', () => {
  const stream = randomStream(1, 'meaning');
  const embeddings = Array.from({ length: 150 }, () => {
    const raw = Array.from({ length: 6 }, () => stream.nextNormal());
    const length = Math.hypot(...raw);
    return Float32Array.from(raw, (value) => value / length);
  });
  const isNear = (a: number, b: number) => {
    const products = [...(embeddings[a] as Float32Array)].map((value, d) => value * (embeddings[b]?.[d] as number));
    return a === b || products.reduce((sum, value) => sum + value, 0) >= 0.55;
  };
  const expected: number[] = [];
  let uncovered = new Set<number>();
  while (expected.length < embeddings.length) {
    const left = [...embeddings.keys()].filter((i) => !expected.includes(i));
    if (uncovered.size === 0) uncovered = new Set(left);
    const gain = (i: number) => [...uncovered].filter((j) => isNear(i, j)).length;
    const best = left.reduce((a, b) => (gain(b) > gain(a) ? b : a));
    expected.push(best);
    for (const j of [...uncovered]) if (isNear(best, j)) uncovered.delete(j);
  }
  expect(order(embeddings)).toEqual(expected);
});
