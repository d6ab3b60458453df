/** C0 and C1 controls, line and paragraph separators, and the marks that reorder text on screen. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Returns `text` on one line with nothing that a terminal would obey: attacks and responses are written by language
 * models, and must not move the cursor, change the title or colour the screen of whoever reads them.
 */
export function printable(text: string): string {
  return text.replace(
    UNPRINTABLE,
    (character) => NAMED[character] ?? `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** `printable` text, cut to `width` characters with an ellipsis. */
export function printableWithin(text: string, width: number): string {
  const characters = [...printable(text)];
  return characters.length <= width ? characters.join('') : `${characters.slice(0, Math.max(width - 1, 0)).join('')}…`;
}
