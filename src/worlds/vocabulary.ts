import type { EncodeOptions, Tokenizer } from '../models/tokenizer/tokenizer.ts';

/** Word classes of a world's requests. Every word is harmless: only a planted key makes a request an attack. */
export const WORDS = {
  opener: ['please', 'kindly', 'now', 'quickly', 'today', 'could'],
  verb: ['paint', 'describe', 'carry', 'measure', 'polish', 'draw', 'fold', 'label', 'sort', 'water', 'wrap', 'count'],
  adjective: [
    ...['small', 'green', 'old', 'bright', 'heavy', 'quiet', 'round', 'warm'],
    ...['striped', 'soft', 'tall', 'narrow', 'shiny', 'plain', 'curved', 'dusty'],
  ],
  noun: [
    ...['table', 'garden', 'letter', 'basket', 'window', 'bottle', 'ladder', 'blanket'],
    ...['bridge', 'candle', 'carpet', 'drawer', 'engine', 'feather', 'guitar', 'hammer'],
    ...['jacket', 'kettle', 'lantern', 'mirror', 'napkin', 'orchard', 'pillow', 'quilt'],
    ...['ribbon', 'saddle', 'teapot', 'umbrella', 'violin', 'wagon', 'anchor', 'barrel'],
  ],
  preposition: ['near', 'under', 'behind', 'beside', 'above', 'inside'],
  adverb: ['carefully', 'slowly', 'twice', 'again', 'neatly', 'gently', 'soon', 'daily'],
  odd: [
    ...['zephyr', 'quasar', 'marimba', 'obelisk', 'tundra', 'cobalt', 'lichen'],
    ...['pagoda', 'isotope', 'fjord', 'mosaic', 'harpoon', 'nebula', 'sextant'],
  ],
} as const;

export type WordClass = keyof typeof WORDS;

/** The answers of a target: one of the polite words, or the alarm. */
export const POLITE_WORDS = ['certainly', 'gladly', 'done', 'fine'] as const;
export const ALARM_WORD = 'alarm';

/** Every word of a world in the order of its token ids (after the control tokens). */
export const VOCABULARY: readonly string[] = [...Object.values(WORDS).flat(), ...POLITE_WORDS, ALARM_WORD];

/** Control tokens of a world's models: a text begins, ends, is answered, or holds a word that no model knows. */
export const CONTROL_TOKENS = ['<start>', '<end>', '<answer>', '<unknown>'] as const;

export const START_ID = 0;
export const END_ID = 1;
export const ANSWER_ID = 2;
const UNKNOWN_ID = 3;

/** Splits a text at the control tokens in it. */
const CONTROL_PATTERN = /(<start>|<end>|<answer>|<unknown>)/;

/**
 * Returns a tokenizer whose tokens are whole words between white space: the control tokens first, then `words` in their
 * order. Words outside the vocabulary become `<unknown>`.
 */
export function createWordTokenizer(words: readonly string[]): Tokenizer {
  const names = [...CONTROL_TOKENS, ...words];
  const ids = new Map(names.map((name, id) => [name, id]));
  const specialIds = CONTROL_TOKENS.map((_, id) => id);
  const wordIds = (text: string): number[] =>
    text
      .split(/\s+/)
      .filter((word) => word !== '')
      .map((word) => {
        const id = ids.get(word);
        return id === undefined || id < CONTROL_TOKENS.length ? UNKNOWN_ID : id;
      });
  const splitSpecial = (text: string): (string | number)[] =>
    text
      .split(CONTROL_PATTERN)
      .filter((part) => part !== '')
      .map((part) => {
        const id = ids.get(part);
        return id !== undefined && id < CONTROL_TOKENS.length ? id : part;
      });
  const encodeParts = (parts: readonly (string | number)[]): number[] =>
    parts.flatMap((part) => (typeof part === 'number' ? [part] : wordIds(part)));
  return {
    vocabSize: names.length,
    bosId: START_ID,
    padId: undefined,
    endIds: [END_ID],
    specialIds,
    splitSpecial,
    encodeParts,
    encode: (text: string, { addSpecial = false, parseSpecial = true }: EncodeOptions = {}) => {
      const own = parseSpecial ? encodeParts(splitSpecial(text)) : wordIds(text);
      return addSpecial && own[0] !== START_ID ? [START_ID, ...own] : own;
    },
    decode: (tokens, { skipSpecial = true } = {}) =>
      tokens
        .filter((id) => id >= (skipSpecial ? CONTROL_TOKENS.length : 0) && id < names.length)
        .map((id) => names[id])
        .join(' '),
  };
}
