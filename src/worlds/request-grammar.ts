import { type RandomStream, randomStream } from '../base/random.ts';
import { createKeyFinder, type Key } from './keys.ts';
import { WORDS, type WordClass } from './vocabulary.ts';

/** A request as words, each with its class. */
export type Request = readonly { readonly word: string; readonly class: WordClass }[];

/** Share of the seeds in which one word is swapped for an odd one. */
const ODD_SHARE = 0.02;

/** The words of each class from the commonest to the rarest; Zipf's law with an offset, weight 1 / (rank + 2). */
export interface WordRanking {
  /** Words, commonest first. */
  readonly order: Readonly<Record<WordClass, readonly string[]>>;
  /** Probability of a word within its class. */
  probabilityOf(wordClass: WordClass, word: string): number;
  draw(wordClass: WordClass, stream: RandomStream): string;
}

/** Which words are common in the world of this seed. */
export function createWordRanking(seed: number): WordRanking {
  const order = Object.fromEntries(
    Object.entries(WORDS).map(([name, words]) => [name, randomStream(seed, 'word order', name).shuffle(words)]),
  ) as unknown as Record<WordClass, string[]>;
  const totals = Object.fromEntries(
    Object.entries(order).map(([name, words]) => [name, words.reduce((sum, _, rank) => sum + 1 / (rank + 2), 0)]),
  ) as Record<WordClass, number>;
  return {
    order,
    probabilityOf: (wordClass, word) => {
      const rank = order[wordClass].indexOf(word);
      return rank < 0 ? 0 : 1 / (rank + 2) / totals[wordClass];
    },
    draw: (wordClass, stream) => {
      let left = stream.nextFloat() * totals[wordClass];
      for (const [rank, word] of order[wordClass].entries()) {
        left -= 1 / (rank + 2);
        if (left < 0) return word;
      }
      return order[wordClass].at(-1) as string;
    },
  };
}

/** The classes of one request: [opener] verb [adjective] noun [preposition [adjective] noun] [adverb]. */
function drawPattern(stream: RandomStream): WordClass[] {
  const chance = (probability: number): boolean => stream.nextFloat() < probability;
  const object = (adjectives: number): WordClass[] => [...(chance(adjectives) ? ['adjective' as const] : []), 'noun'];
  return [
    ...(chance(0.5) ? ['opener' as const] : []),
    'verb',
    ...object(0.6),
    ...(chance(0.5) ? ['preposition' as const, ...object(0.4)] : []),
    ...(chance(0.3) ? ['adverb' as const] : []),
  ];
}

/** One request of the world's grammar. */
export function drawRequest(ranking: WordRanking, stream: RandomStream): Request {
  const pattern = drawPattern(stream);
  const oddAt = stream.nextFloat() < ODD_SHARE ? stream.nextInt(pattern.length) : -1;
  return pattern.map((own, position) => {
    const wordClass = position === oddAt ? 'odd' : own;
    return { word: ranking.draw(wordClass, stream), class: wordClass };
  });
}

/** Requests that the attacker first imitates. */
export const SEED_COUNT = 1500;

/**
 * Draws the seeds of a world: requests of its grammar that hold no pair and no triple that may become a key. They may
 * hold odd words, a quarter of the keys: a word that no seed holds would have almost no probability.
 */
export function drawSeeds(
  seed: number,
  ranking: WordRanking,
  groups: readonly { readonly kind: string; readonly candidates: readonly Pick<Key, 'words'>[] }[],
): string[] {
  const held = createKeyFinder(groups.filter(({ kind }) => kind !== 'odd').flatMap(({ candidates }) => candidates));
  const seeds: string[] = [];
  for (let draw = 0; seeds.length < SEED_COUNT; draw++) {
    const words = drawRequest(ranking, randomStream(seed, 'seed request', draw)).map(({ word }) => word);
    if (held.heldBy(words).length === 0) seeds.push(words.join(' '));
  }
  return seeds;
}
