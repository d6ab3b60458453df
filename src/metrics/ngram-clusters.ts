import { textTokens } from './text-tokens.ts';

/** Longest n-gram that may stand for a cluster. */
const MAX_ORDER = 3;

/** Standard deviations by which a count may be off on either side: about 95% of a Poisson count's spread. */
const DEVIATIONS = 2;

/** The different n-grams of orders 1..3 in a text. */
function ngramsOf(text: string): Set<string> {
  const tokens = textTokens(text);
  const grams = new Set<string>();
  for (let order = 1; order <= MAX_ORDER; order++) {
    for (let start = 0; start + order <= tokens.length; start++) {
      grams.add(tokens.slice(start, start + order).join(' '));
    }
  }
  return grams;
}

function documentCounts(documents: readonly ReadonlySet<string>[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const grams of documents) for (const gram of grams) counts.set(gram, (counts.get(gram) ?? 0) + 1);
  return counts;
}

/**
 * The n-gram that stands for each text: of its 1-3-grams the one whose lift over the reference is surely largest, a lower
 * bound of the texts that hold it divided by an upper bound of those expected. What was planted is not known here: an
 * n-gram stands out only because the texts hold it far oftener than the reference does.
 */
export function characteristicNgrams(texts: readonly string[], reference: readonly string[]): string[] {
  const documents = texts.map(ngramsOf);
  const counts = documentCounts(documents);
  const expected = documentCounts(reference.map(ngramsOf));
  const scale = texts.length / Math.max(1, reference.length);
  const liftOf = (gram: string): number => {
    const count = counts.get(gram) ?? 0;
    const seen = expected.get(gram) ?? 0;
    const least = count - DEVIATIONS * Math.sqrt(count);
    const most = scale * (seen + DEVIATIONS * Math.sqrt(seen + 1) + 1);
    return least / most;
  };
  return documents.map((grams) => {
    let best = '';
    let largest = Number.NEGATIVE_INFINITY;
    for (const gram of grams) {
      const lift = liftOf(gram);
      if (lift > largest) [best, largest] = [gram, lift];
    }
    return best;
  });
}

/** Size of each text's cluster: the texts that the same n-gram stands for. O(tokens). */
export function ngramClusterSizes(texts: readonly string[], reference: readonly string[]): number[] {
  const names = characteristicNgrams(texts, reference);
  const sizes = new Map<string, number>();
  for (const name of names) sizes.set(name, (sizes.get(name) ?? 0) + 1);
  return names.map((name) => sizes.get(name) as number);
}
