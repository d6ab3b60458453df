import { expect, test } from 'vitest';
import { findWays, regionSets, shuffled, wordSet } from '../../../lab/first-attacks/region-sets.ts';
import { randomStream } from '../../../src/base/random.ts';

/** Unit vectors of the plane, a degree apart. */
const circle = (count: number) => {
  const angles = Array.from({ length: count }, (_, i) => (i * Math.PI) / 180);
  return { flat: Float32Array.from(angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)])), width: 2 };
};

test('the regions of a set hold the share of the draws that the base rate asks, the likeliest twice the rarest', () => {
  const phrases = { flat: Float32Array.of(0, 1, -1, 0, 0, -1), width: 2 };
  const sets = regionSets(circle(360), phrases, { sets: 4, regions: 3, baseRate: 0.2, seed: 1 });
  expect(sets).toHaveLength(4);
  for (const { held } of sets) {
    const sizes = [0, 1, 2].map((region) => held.filter((ways) => ways.includes(region)).length);
    expect(sizes[0]! + sizes[1]! + sizes[2]!).toBeCloseTo(72, -1);
    expect(sizes[2]! / sizes[0]!).toBeCloseTo(2, 0);
  }
  expect(new Set(sets.map(({ held }) => JSON.stringify(held))).size).toBeGreaterThan(1);
});

test('a word is a way where 0.1% to 0.6% of the draws hold it', () => {
  const texts = Array.from(
    { length: 1000 },
    (_, i) => `often ${i < 3 ? 'seldom' : ''}${i === 5 ? 'sometimes' : ''} ${i < 20 ? 'usual' : ''} cat`,
  );
  const { ways, held } = wordSet(texts);
  expect(ways).toBe(2);
  expect(held.filter((each) => each.length > 0)).toHaveLength(4);
});

test('area is the number of ways known on average while the draws are asked', () => {
  const held = [[], [0], [0, 1], []];
  const asked = [1, 0, 2, 3].map((row) => ({ text: '', row }));
  expect(findWays(asked, { name: 'by hand', ways: 2, held })).toEqual({ successes: 2, ways: 2, area: 1.5 });
});

test('shuffled keeps every draw with its row', () => {
  const texts = ['a', 'b', 'c', 'd', 'e'];
  const draws = shuffled(texts, randomStream(1, 'test'));
  expect(draws.map(({ text, row }) => texts[row] === text)).toEqual(texts.map(() => true));
  expect(new Set(draws.map(({ row }) => row)).size).toBe(5);
});
