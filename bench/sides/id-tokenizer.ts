import type { Tokenizer } from '../../src/models/tokenizer/tokenizer.ts';

/** The id of a word that is not a number: `createInputEncoder` asks how an ordinary text is framed. */
const OTHER_ID = 4;

/**
 * A tokenizer whose texts are token ids written in decimal: ids pass from model to model as they are, as they do in the
 * peer, and no real tokenizer is timed. `frame` are the ids that `addSpecial` puts before and after.
 */
export function createIdTokenizer(
  vocabSize: number,
  options: { readonly endId: number; readonly frame?: readonly [before: number, after: number] },
): Tokenizer {
  const idsOf = (text: string): number[] =>
    text
      .split(' ')
      .filter(Boolean)
      .map((word) => (/^\d+$/.test(word) ? Number(word) : OTHER_ID));
  return {
    vocabSize,
    bosId: undefined,
    padId: undefined,
    endIds: [options.endId],
    specialIds: [],
    encode: (text, { addSpecial = false } = {}) => {
      const { frame } = options;
      return addSpecial && frame !== undefined ? [frame[0], ...idsOf(text), frame[1]] : idsOf(text);
    },
    splitSpecial: (text) => [text],
    encodeParts: (parts) => parts.flatMap((part) => (typeof part === 'number' ? [part] : idsOf(part))),
    decode: (ids) => ids.join(' '),
  };
}
