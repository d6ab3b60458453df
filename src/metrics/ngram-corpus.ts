import { textTokens } from './text-tokens.ts';

/** The n-grams of one order in one document: `counts[i]` occurrences of the n-gram `ids[i]`. */
export interface NgramCounts {
  readonly ids: Int32Array;
  readonly counts: Int32Array;
  /** All occurrences: max(0, length - order + 1). */
  readonly total: number;
}

export interface NgramDocument {
  /** Tokens in the document. */
  readonly length: number;
  /** orders[n - 1] = its n-grams. */
  readonly orders: readonly NgramCounts[];
}

/** Texts as counted n-grams with ids dense within each order, so that every metric is one pass over integers. */
export interface NgramCorpus {
  readonly documents: readonly NgramDocument[];
  /** distinct[n - 1] = number of different n-grams of order n in the corpus. */
  readonly distinct: readonly number[];
}

/** The n-grams of orders 1..maxOrder of every text, tokenised by `textTokens`. O(tokens * maxOrder). */
export function countNgrams(texts: readonly string[], maxOrder: number): NgramCorpus {
  const words = new Map<string, number>();
  const grams = Array.from({ length: maxOrder }, () => new Map<number, number>());
  const tokenised = texts.map((text) =>
    textTokens(text).map((word) => {
      const known = words.get(word);
      if (known !== undefined) return known;
      words.set(word, words.size);
      return words.size - 1;
    }),
  );
  const documents = tokenised.map((ids) => ({ length: ids.length, orders: documentNgrams(ids, grams, words.size) }));
  return { documents, distinct: grams.map((known) => known.size) };
}

/** An n-gram's key is (id of its first n - 1 tokens) * vocabulary + last token: exact in a double, no string is built. */
function documentNgrams(
  words: readonly number[],
  grams: readonly Map<number, number>[],
  vocabulary: number,
): NgramCounts[] {
  let prefixes = words.map(() => 0);
  return grams.map((known, order) => {
    const counts = new Map<number, number>();
    const ids: number[] = [];
    for (let start = 0; start + order < words.length; start++) {
      const key = (prefixes[start] as number) * vocabulary + (words[start + order] as number);
      let id = known.get(key);
      if (id === undefined) {
        id = known.size;
        known.set(key, id);
      }
      ids.push(id);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    prefixes = ids;
    return { ids: Int32Array.from(counts.keys()), counts: Int32Array.from(counts.values()), total: ids.length };
  });
}
