import { judgedTail, MAX_JUDGED_UNITS } from './judged-text.ts';
import type { HashedVocabulary } from './term-hash.ts';

/** Length of every row. The model was trained on rows of 100 and its LSTM runs over the padding: never shorter. */
export const TOX_BLOCK_TOKENS = 100;

/** What the Keras tokenizer turns into spaces; the apostrophe stays part of a word, as does other white space. */
const SEPARATORS = /[!"#$%&()*+,\-./:;<=>?@[\\\]^_`{|}~\t\n ]+/;

/**
 * Writes the ids of the last 100 known words of `text` into `row` ([100], zeros on the left). Unknown words are left
 * out, ids are the vocabulary's positions + 1.
 */
export function writeToxBlockRow(row: Int32Array, vocabulary: HashedVocabulary, text: string): void {
  const words = judgedTail(text).toLowerCase().split(SEPARATORS);
  if (text.length > MAX_JUDGED_UNITS) words.shift(); // the cut may have halved it
  let position = TOX_BLOCK_TOKENS;
  for (let i = words.length - 1; i >= 0 && position > 0; i--) {
    const word = words[i] ?? '';
    const index = word === '' ? -1 : vocabulary.indexOf(word);
    if (index >= 0) row[--position] = index + 1;
  }
  row.fill(0, 0, position);
}
