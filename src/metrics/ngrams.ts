import { finishSteps, mapInSteps, type Steps } from './steps.ts';

/** Scripts without spaces between words: every character is a token. */
const UNSPACED =
  '\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}';
const WORD_CHARACTER = `(?:(?![${UNSPACED}])[\\p{L}\\p{M}\\p{N}])`;
const TOKEN = new RegExp(
  `[${UNSPACED}]\\p{M}*|${WORD_CHARACTER}+(?:['’]${WORD_CHARACTER}+)*|[^\\s\\p{L}\\p{M}\\p{N}]`,
  'gu',
);

/**
 * The tokens of all text metrics, from NFC text in lower case: runs of letters, marks and digits ("don't" is one), single
 * characters of scripts without spaces, and single other signs.
 */
export function textTokens(text: string): string[] {
  return text.normalize('NFC').toLowerCase().match(TOKEN) ?? [];
}

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

/** Texts as counted n-grams. Ids are dense within each order, so that every metric is one pass over integers. */
export interface NgramCorpus {
  readonly documents: readonly NgramDocument[];
  /** distinct[n - 1] = number of different n-grams of order n in the corpus. */
  readonly distinct: readonly number[];
}

/** Tokens that a corpus counts. The next text is the first that is left out: a map holds 16.7 million n-grams. */
export const MAX_CORPUS_TOKENS = 2 ** 23;

/** Ends the method of a figure over a part of the texts; empty where they are all of them. */
export function corpusNote({ documents }: NgramCorpus, texts: number): string {
  return documents.length === texts
    ? ''
    : `, of the first ${documents.length} of ${texts} texts (at most ${MAX_CORPUS_TOKENS} tokens)`;
}

/**
 * The n-grams of orders 1..maxOrder of every text, tokenised by `textTokens`. O(tokens * maxOrder). Texts beyond
 * `MAX_CORPUS_TOKENS` are left out.
 */
export function countNgrams(texts: readonly string[], maxOrder: number): NgramCorpus {
  return finishSteps(countNgramsInSteps(texts, maxOrder));
}

/** The first texts, tokenised, up to `most` tokens. */
function* tokensInSteps(texts: readonly string[], most: number): Steps<string[][]> {
  const tokenised: string[][] = [];
  let tokens = 0;
  for (const text of texts) {
    yield;
    const own = textTokens(text);
    tokens += own.length;
    if (tokens > most) break;
    tokenised.push(own);
  }
  return tokenised;
}

/** `countNgrams`, which may pause at every text. @param mostTokens for tests. */
export function* countNgramsInSteps(
  texts: readonly string[],
  maxOrder: number,
  mostTokens = MAX_CORPUS_TOKENS,
): Steps<NgramCorpus> {
  const words = new Map<string, number>();
  const grams = Array.from({ length: maxOrder }, () => new Map<number, number>());
  const tokenised = yield* mapInSteps(yield* tokensInSteps(texts, mostTokens), (tokens) =>
    tokens.map((word) => {
      const known = words.get(word);
      if (known !== undefined) return known;
      words.set(word, words.size);
      return words.size - 1;
    }),
  );
  const documents = yield* mapInSteps(tokenised, (ids) => {
    return { length: ids.length, orders: documentNgrams(ids, grams, words.size) };
  });
  return { documents, distinct: grams.map((known) => known.size) };
}

/** The key of an n-gram is (id of its first n - 1 tokens) * vocabulary + last token: exact in a double, without strings. */
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

/** Longest n-gram that may name a cluster. */
const MAX_CLUSTER_ORDER = 3;

/** Standard deviations between a count and its bounds: about 95% of a Poisson count. */
const DEVIATIONS = 2;

/** The different n-grams of orders 1..3 in a text. */
function ngramsOf(text: string): Set<string> {
  const tokens = textTokens(text);
  const grams = new Set<string>();
  for (let order = 1; order <= MAX_CLUSTER_ORDER; order++) {
    for (let start = 0; start + order <= tokens.length; start++) {
      grams.add(tokens.slice(start, start + order).join(' '));
    }
  }
  return grams;
}

/** Different n-grams that are counted; one that first appears later counts as seen once. */
const MAX_COUNTED_NGRAMS = 2 ** 23;

function* documentCounts(texts: readonly string[]): Steps<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    yield;
    for (const gram of ngramsOf(text)) {
      const count = counts.get(gram);
      if (count !== undefined) counts.set(gram, count + 1);
      else if (counts.size < MAX_COUNTED_NGRAMS) counts.set(gram, 1);
    }
  }
  return counts;
}

/**
 * The characteristic n-gram of each text: of its 1- to 3-grams, the one with the largest lift over the reference. Lift is
 * a lower bound of the texts that hold the n-gram, divided by an upper bound of those expected. It uses no knowledge of
 * planted n-grams: an n-gram is characteristic because the texts hold it far more often than the reference.
 */
function* characteristicNgrams(texts: readonly string[], reference: readonly string[]): Steps<string[]> {
  const counts = yield* documentCounts(texts);
  const expected = yield* documentCounts(reference);
  const scale = texts.length / Math.max(1, reference.length);
  const liftOf = (gram: string): number => {
    const count = counts.get(gram) ?? 1;
    const seen = expected.get(gram) ?? 0;
    const least = count - DEVIATIONS * Math.sqrt(count);
    const most = scale * (seen + DEVIATIONS * Math.sqrt(seen + 1) + 1);
    return least / most;
  };
  return yield* mapInSteps(texts, (text) => {
    let best = '';
    let largest = Number.NEGATIVE_INFINITY;
    for (const gram of ngramsOf(text)) {
      const lift = liftOf(gram);
      if (lift > largest) [best, largest] = [gram, lift];
    }
    return best;
  });
}

/**
 * Size of each text's cluster: the texts with the same characteristic n-gram. O(tokens). May pause at every text. Above
 * 2^23 different n-grams, those that appear later count as seen once.
 */
export function* ngramClusterSizes(texts: readonly string[], reference: readonly string[]): Steps<number[]> {
  const names = yield* characteristicNgrams(texts, reference);
  const sizes = new Map<string, number>();
  for (const name of names) sizes.set(name, (sizes.get(name) ?? 0) + 1);
  return names.map((name) => sizes.get(name) as number);
}
