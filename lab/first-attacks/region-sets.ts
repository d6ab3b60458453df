import { dotAt } from '../../src/base/flat-vectors.ts';
import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { radiusAt } from '../../src/worlds/language/regions.ts';

/** Requests of the reference: each text with its place among the rows of the embeddings. */
export interface Draw {
  readonly text: string;
  readonly row: number;
}

/** L2-normalised rows of `width` numbers. */
export interface Rows {
  readonly flat: Float32Array;
  readonly width: number;
}

/** For each draw, the ways that it holds. */
export type Holding = readonly (readonly number[])[];

/** Ways of failing that were not planted in the world: of one set, as many as the world has. */
export interface WaySet {
  readonly name: string;
  readonly ways: number;
  readonly held: Holding;
}

/** The likeliest region of a set is so much likelier than the rarest, as in a language world. */
const PRIOR_FACTOR = 2;

/**
 * Sets of regions around phrases, drawn at random. Their priors add up to `baseRate`, and the draws themselves set the
 * radii.
 */
export function regionSets(
  draws: Rows,
  phrases: Rows,
  sizes: { readonly sets: number; readonly regions: number; readonly baseRate: number; readonly seed: number },
): WaySet[] {
  const count = draws.flat.length / draws.width;
  const phraseCount = phrases.flat.length / phrases.width;
  const { sets, regions, baseRate, seed } = sizes;
  const weights = Array.from({ length: regions }, (_, i) => PRIOR_FACTOR ** (i / Math.max(1, regions - 1)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from({ length: sets }, (_, set) => {
    const chosen = randomStream(seed, 'regions', set)
      .shuffle(Array.from({ length: phraseCount }, (_, i) => i))
      .slice(0, regions);
    const inside = chosen.map((phrase, region) => {
      const cosines = Array.from({ length: count }, (_, row) =>
        dotAt(draws.flat, row * draws.width, phrases.flat, phrase * phrases.width, draws.width),
      );
      const placed = cosines.map((cosine) => ({ prior: 1 / count, cosines: [cosine] }));
      const radius = radiusAt(placed, 0, (baseRate * (weights[region] as number)) / total);
      return cosines.map((cosine) => cosine >= radius);
    });
    const held = Array.from({ length: count }, (_, row) =>
      inside.flatMap((rows, region) => (rows[row] === true ? [region] : [])),
    );
    return { name: `regions ${set}`, ways: regions, held };
  });
}

/** A word of at least four letters that these shares of the draws hold is a way of its own: no embedding says so. */
const WORD = /[a-z]{4,}/g;
const WORD_SHARES = { least: 0.001, most: 0.006 };

/** Name of the set of words. */
export const WORDS = 'words';

/** One set of ways: the words that are neither rare nor common. */
export function wordSet(texts: readonly string[]): WaySet {
  const wordsOf = texts.map((text) => new Set(text.toLowerCase().match(WORD) ?? []));
  const counts = new Map<string, number>();
  for (const words of wordsOf) for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const kept = [...counts].filter(
    ([, n]) => n >= WORD_SHARES.least * texts.length && n <= WORD_SHARES.most * texts.length,
  );
  const numbers = new Map(kept.map(([word], i) => [word, i]));
  const held = wordsOf.map((words) => [...words].flatMap((word) => numbers.get(word) ?? []));
  return { name: WORDS, ways: kept.length, held };
}

/** The finds of asking draws in an order, where every way answers when it is held. */
export interface Found {
  readonly successes: number;
  readonly ways: number;
  /** Ways known on average while they are asked. */
  readonly area: number;
}

export function findWays(asked: readonly Draw[], { held }: WaySet): Found {
  const known = new Set<number>();
  let [successes, area] = [0, 0];
  for (const { row } of asked) {
    const ways = held[row] ?? [];
    if (ways.length > 0) successes++;
    for (const way of ways) known.add(way);
    area += known.size / asked.length;
  }
  return { successes, ways: known.size, area };
}

/** The draws in random order. */
export function shuffled(texts: readonly string[], stream: RandomStream): Draw[] {
  return stream.shuffle(texts.map((text, row) => ({ text, row })));
}
