/**
 * Characters that a reader would not see but a screen would obey: C0 and C1 controls, line and paragraph separators,
 * marks that reorder text, characters without width, the tag block (text in invisible letters), halves of surrogate
 * pairs.
 */
export const UNPRINTABLE =
  /[\p{Cc}\p{Cs}\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\u{e0000}-\u{e007f}]/gu;

/** Returns `\u{202e}` for the character U+202E. */
export function visibleEscape(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
