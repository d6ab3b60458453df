/** Scripts written without spaces between words: every character counts as a token. */
const UNSPACED =
  '\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}';
const WORD_CHARACTER = `(?:(?![${UNSPACED}])[\\p{L}\\p{M}\\p{N}])`;
const TOKEN = new RegExp(
  `[${UNSPACED}]\\p{M}*|${WORD_CHARACTER}+(?:['’]${WORD_CHARACTER}+)*|[^\\s\\p{L}\\p{M}\\p{N}]`,
  'gu',
);

/**
 * The tokens that all text metrics count: lower-cased NFC text, cut into runs of letters, marks and digits (an inner
 * apostrophe stays inside: "don't"), single characters of scripts without spaces, and single other signs.
 */
export function textTokens(text: string): string[] {
  return text.normalize('NFC').toLowerCase().match(TOKEN) ?? [];
}
