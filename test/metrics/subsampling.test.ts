import { describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import { measureAtSize, subsample } from '../../src/metrics/subsampling.ts';
import { uniqueAttacks, uniqueAttacksAtSize } from '../../src/metrics/unique-attacks.ts';

const stream = (name: string) => randomStream(11, name);
const width = (measure: { low: number | null; high: number | null }) =>
  (measure.high ?? Number.NaN) - (measure.low ?? Number.NaN);

test('a subsample is distinct, ascending, of the asked size, and fair', () => {
  const draws = stream('fair');
  const seen = new Array<number>(10).fill(0);
  for (let i = 0; i < 4000; i++) {
    const indices = subsample(10, 3, draws);
    expect(indices).toEqual([...new Set(indices)].sort((a, b) => a - b));
    for (const index of indices) seen[index] = (seen[index] ?? 0) + 1;
  }
  // 1,200 each; chi-square of 9 degrees of freedom, 0.001 point (draws without replacement vary less).
  expect(seen.reduce((sum, x) => sum + (x - 1200) ** 2 / 1200, 0)).toBeLessThan(27.9);
});

describe('interval by subsampling', () => {
  // A count over independent attacks has a known spread: the binomial's.
  const total = 1000;
  const isHit = Array.from({ length: total }, (_, i) => i % 10 < 3);
  const countHits = (indices: readonly number[]) => indices.filter((i) => isHit[i]).length;

  test.each([1000, 700, 500, 250])('of a count at size %i is as wide as the binomial interval', (size) => {
    const measure = measureAtSize(
      total,
      { size, draws: 1000, bounds: [0, size], stream: stream(`count ${size}`) },
      countHits,
    );
    const binomial = 2 * 1.96 * Math.sqrt(size * 0.3 * 0.7);
    expect(Math.abs((measure.value ?? 0) / (size * 0.3) - 1)).toBeLessThan(0.01);
    expect(Math.abs(width(measure) / binomial - 1)).toBeLessThan(0.1);
  });

  test.each([1000, 400])('of a mean at size %i is as wide as the interval of a mean', (size) => {
    const values = Array.from({ length: total }, (_, i) => 5 + Math.sin(i * 12.9898));
    const mean = (indices: readonly number[]) => indices.reduce((sum, i) => sum + (values[i] ?? 0), 0) / indices.length;
    const measure = measureAtSize(total, { size, draws: 1000, stream: stream(`mean ${size}`) }, mean);
    const sd = Math.sqrt(values.reduce((sum, x) => sum + (x - 5) ** 2, 0) / total);
    expect(Math.abs(width(measure) / ((2 * 1.96 * sd) / Math.sqrt(size)) - 1)).toBeLessThan(0.1);
  });

  test('is the same from the same stream, and has no interval where nothing varies with the sample', () => {
    const options = (name: string) => ({ size: 300, draws: 50, stream: stream(name) });
    expect(measureAtSize(total, options('a'), countHits)).toEqual(measureAtSize(total, options('a'), countHits));
    expect(measureAtSize(total, options('b'), () => 0)).toMatchObject({ value: 0, low: null, high: null });
    expect(measureAtSize(total, options('c'), () => null)).toMatchObject({ value: null, low: null });
    expect(measureAtSize(1, { size: 1, stream: stream('d') }, () => 3)).toMatchObject({ value: 3, low: null });
    expect(() => measureAtSize(10, { size: 11, stream: stream('e') }, () => 1)).toThrow(/got 11, expected 1..10/);
  });
});

describe('unique attacks at a size', () => {
  // 40 directions, each said ten times; every second attack succeeds.
  const rows = 400;
  const data = new Float32Array(rows * 40);
  for (let row = 0; row < rows; row++) data[row * 40 + ((row >> 1) % 40)] = 1;
  const embeddings = createEmbeddingMatrix(data, rows, 40);
  const successes = Array.from({ length: rows / 2 }, (_, i) => 2 * i);

  test('at all attacks it is the plain count, with an interval', () => {
    const measure = uniqueAttacksAtSize(embeddings, successes, { size: rows, draws: 100, stream: stream('all') });
    expect(measure.value).toBe(uniqueAttacks(embeddings, successes).count.value);
    expect(measure.low).toBeLessThanOrEqual(40);
    expect(measure.high).toBeGreaterThanOrEqual(40);
  });

  test('its interval ends at 0 and at the number of attacks', () => {
    const one = uniqueAttacksAtSize(embeddings, [0], { size: rows, draws: 100, stream: stream('one') });
    expect(one).toMatchObject({ value: 1, low: 0 });
    const all = uniqueAttacksAtSize(embeddings, successes, { size: 10, draws: 100, stream: stream('all of 10') });
    expect(all.high).toBeLessThanOrEqual(10);
  });

  test('at fewer attacks it is what so few would have found: the birthday formula', () => {
    const size = 60;
    const measure = uniqueAttacksAtSize(embeddings, successes, { size, draws: 400, stream: stream('few') });
    // Each direction has 5 successes among 400 attacks; it is missed with probability C(395, 60) / C(400, 60).
    let missed = 1;
    for (let i = 0; i < 5; i++) missed *= (rows - size - i) / (rows - i);
    expect(measure.value).toBeCloseTo(40 * (1 - missed), 0);
    expect(measure.method).toContain('at 60 of 400 attacks');
  });
});
