/**
 * Characters that a reader would not see but a screen would obey: C0 and C1 controls, line and paragraph separators,
 * halves of surrogate pairs, and all that Unicode lets a screen ignore. The last set holds marks that reorder text,
 * letters without width, variation selectors, tags, soft hyphens and blank letters. A text can hide a whole message in
 * them, also within an emoji, so joiners and selectors of emoji are in the set too. U+2800, interlinear annotations and
 * the format controls of hieroglyphs are invisible without that property.
 */
export const UNPRINTABLE =
  /[\p{Cc}\p{Cs}\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800\ufff9-\ufffb\u{13430}-\u{1343f}]/gu;

/** Returns `\u{202e}` for the character U+202E. */
export function visibleEscape(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}

/** Returns `\u202e` for the character U+202E, and one such escape for each half of a pair. */
function jsonEscape(character: string): string {
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}

/**
 * Returns JSON text whose strings hold every unprintable character as an escape; a parser reads the same value. JSON
 * itself escapes the controls below U+0020 only, and its line breaks between tokens stay.
 */
export function printableJson(json: string): string {
  return json.replace(UNPRINTABLE, (character) => (character === '\n' ? character : jsonEscape(character)));
}
