import { UNPRINTABLE, visibleEscape } from '../base/unprintable.ts';

const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Returns `text` on one line with nothing that a terminal would obey: attacks and responses are written by language
 * models, and must not move the cursor, change the title or colour the screen of whoever reads them.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => NAMED[character] ?? visibleEscape(character));
}

/** `printable` text, cut to `width` characters with an ellipsis. */
export function printableWithin(text: string, width: number): string {
  const characters = [...printable(text)];
  return characters.length <= width ? characters.join('') : `${characters.slice(0, Math.max(width - 1, 0)).join('')}…`;
}
