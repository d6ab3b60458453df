/**
 * Lower case, compatibility forms folded, accents and invisible characters removed: `Ｃａｆé` becomes `cafe`.
 * Marks go before the decomposition too, because reordering thousands of stacked marks is quadratic.
 */
export function normaliseText(text: string): string {
  return text
    .replace(/[\p{M}\p{Cf}]+/gu, '')
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}+/gu, '');
}

/** The runs of letters and digits of the normalised text, in order. */
export function normalisedWords(text: string): string[] {
  return normaliseText(text).match(/[\p{L}\p{N}]+/gu) ?? [];
}
