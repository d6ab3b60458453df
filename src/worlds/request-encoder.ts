import type { SentenceEncoder } from '../models/encoder/text-encoder.ts';
import { wordsOf } from './keys.ts';
import { VOCABULARY, WORDS } from './vocabulary.ts';

/** Words that say little of what a request asks weigh less. */
const MINOR_WEIGHT = 0.3;
const MINOR: ReadonlySet<string> = new Set([...WORDS.opener, ...WORDS.preposition, ...WORDS.adverb]);

/** Directions shared by all pairs of neighbouring words, by a hash of the pair. */
const PAIR_WIDTH = 256;

function pairSlot(first: number, second: number): number {
  return Math.imul(first * 1031 + second, 0x9e3779b1) >>> 24;
}

/**
 * The sentence encoder of a world: a vector of its words and of its pairs of neighbours, of L2 length 1. It knows
 * nothing of keys; requests are near each other when they share rare words in the same order.
 */
export function createRequestEncoder(): SentenceEncoder {
  const ids = new Map(VOCABULARY.map((word, id) => [word, id]));
  const width = VOCABULARY.length + PAIR_WIDTH;
  const embedOne = (text: string, row: Float32Array): void => {
    const words = wordsOf(text).filter((word) => ids.has(word));
    const weightOf = (word: string): number => (MINOR.has(word) ? MINOR_WEIGHT : 1);
    words.forEach((word, i) => {
      const id = ids.get(word) as number;
      row[id] = (row[id] as number) + weightOf(word);
      const next = words[i + 1];
      if (next === undefined) return;
      const slot = VOCABULARY.length + pairSlot(id, ids.get(next) as number);
      row[slot] = (row[slot] as number) + weightOf(word) * weightOf(next);
    });
    const length = Math.hypot(...row);
    if (length > 0) for (let i = 0; i < row.length; i++) row[i] = (row[i] as number) / length;
  };
  const close = async (): Promise<void> => undefined;
  return {
    width,
    embed: async (texts) => {
      const flat = new Float32Array(texts.length * width);
      texts.forEach((text, i) => {
        embedOne(text, flat.subarray(i * width, (i + 1) * width));
      });
      return flat;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
