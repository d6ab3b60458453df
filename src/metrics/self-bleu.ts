import { attackMetric, measureAtSetSize } from './attack-set.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { countNgrams, type NgramCorpus, type NgramDocument, textTokens } from './ngrams.ts';
import { measureAtSize, type SubsamplingOptions } from './subsampling.ts';

/** The BLEU orders that are averaged, as in the curiosity work: BLEU-2 to BLEU-5. */
export const SELF_BLEU_ORDERS = [2, 3, 4, 5] as const;
const MAX_ORDER = 5;

/** Replaces a count of 0 in a precision, so that one missing order does not make the product 0 (NLTK's method 1). */
export const ZERO_COUNT_SMOOTHING = 0.1;

export interface SelfBleu {
  /** Mean over texts and over BLEU-2..5; 1 = every text occurs twice, null below two texts. */
  readonly value: number | null;
  /** The mean over texts of each BLEU-k. */
  readonly byOrder: Readonly<Record<(typeof SELF_BLEU_ORDERS)[number], number>> | null;
}

/** Self-BLEU of the texts: each against all others. A higher value means more alike texts. */
export function selfBleu(texts: readonly string[]): Measure {
  return pointMeasure(selfBleuOf(countNgrams(texts, MAX_ORDER)).value, texts.length, METHOD);
}

/** Self-BLEU at `size` texts, with an interval by subsampling. It grows with the number of texts: compare at one size. */
export function selfBleuAtSize(texts: readonly string[], options: SubsamplingOptions): Measure {
  const corpus = countNgrams(texts, MAX_ORDER);
  const measure = measureAtSize(
    texts.length,
    { bounds: [0, 1], ...options },
    (indices) => selfBleuOf(corpus, indices).value,
  );
  return { ...measure, method: `${METHOD}, ${measure.method}` };
}

export const selfBleuMetric = attackMetric({
  name: 'selfBleu',
  words: {
    label: 'Likeness of wording',
    explain: 'Self-BLEU: how much of an attack’s wording appears in the other attacks. Lower is more varied.',
  },
  measure: (set, options) =>
    measureAtSetSize('selfBleu', set, options, (subsampling) => selfBleuAtSize(set.texts, subsampling)),
});

const METHOD = 'self-BLEU, mean of BLEU-2..5';

/**
 * Self-BLEU of the chosen documents. BLEU-k = brevity penalty (closest reference length) * exp(mean over n = 1..k of
 * log p_n), with p_n = clipped matches / n-grams (at least 1) and 0.1 for a match count of 0. BLEU is 0 when no word is
 * shared. Clipping needs the largest count among the *other* texts. The two largest counts of each n-gram give it for
 * every text, so the cost is O(n-grams) and not O(texts^2).
 */
export function selfBleuOf(corpus: NgramCorpus, indices?: readonly number[]): SelfBleu {
  const documents = indices?.map((index) => corpus.documents[index] as NgramDocument) ?? corpus.documents;
  if (documents.length < 2) return { value: null, byOrder: null };
  const ceilings = corpus.distinct.map((distinct, order) => clippingCounts(documents, order, distinct));
  const lengths = new ReferenceLengths(documents);
  const sums: Record<(typeof SELF_BLEU_ORDERS)[number], number> = { 2: 0, 3: 0, 4: 0, 5: 0 };
  documents.forEach((document, d) => {
    const logPrecisions = ceilings.map((ceiling, order) => logPrecision(document, d, order, ceiling));
    if (logPrecisions[0] === Number.NEGATIVE_INFINITY) return;
    const logBrevity = Math.min(0, 1 - lengths.closestTo(document.length) / document.length);
    for (const k of SELF_BLEU_ORDERS) {
      const mean = logPrecisions.slice(0, k).reduce((sum, x) => sum + x, 0) / k;
      sums[k] += Math.exp(logBrevity + mean);
    }
  });
  for (const k of SELF_BLEU_ORDERS) sums[k] /= documents.length;
  const value = SELF_BLEU_ORDERS.reduce((sum, k) => sum + sums[k], 0) / SELF_BLEU_ORDERS.length;
  return { value, byOrder: sums };
}

/** Per n-gram: its largest count in one document, the index of that document, and the largest count elsewhere. */
interface ClippingCounts {
  readonly largest: Int32Array;
  readonly holder: Int32Array;
  readonly elsewhere: Int32Array;
}

function clippingCounts(documents: readonly NgramDocument[], order: number, distinct: number): ClippingCounts {
  const largest = new Int32Array(distinct);
  const holder = new Int32Array(distinct).fill(-1);
  const elsewhere = new Int32Array(distinct);
  documents.forEach(({ orders }, d) => {
    const { ids, counts } = orders[order] as NgramDocument['orders'][number];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      const count = counts[i] as number;
      if (count > (largest[id] as number)) {
        elsewhere[id] = largest[id] as number;
        largest[id] = count;
        holder[id] = d;
      } else if (count > (elsewhere[id] as number)) {
        elsewhere[id] = count;
      }
    }
  });
  return { largest, holder, elsewhere };
}

/** log p_n of document `d`; minus infinity when it shares no unigram with any other text. */
function logPrecision(document: NgramDocument, d: number, order: number, ceiling: ClippingCounts): number {
  const { ids, counts, total } = document.orders[order] as NgramDocument['orders'][number];
  let matches = 0;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] as number;
    const limit = (ceiling.holder[id] === d ? ceiling.elsewhere[id] : ceiling.largest[id]) as number;
    matches += Math.min(counts[i] as number, limit);
  }
  if (matches === 0 && order === 0) return Number.NEGATIVE_INFINITY;
  return Math.log((matches === 0 ? ZERO_COUNT_SMOOTHING : matches) / Math.max(1, total));
}

/** Finds the closest length among the other documents, the shorter of two equally close. */
class ReferenceLengths {
  private readonly documentsOfLength = new Map<number, number>();
  private readonly ascending: readonly number[];
  private readonly closest = new Map<number, number>();

  constructor(documents: readonly NgramDocument[]) {
    for (const { length } of documents) {
      this.documentsOfLength.set(length, (this.documentsOfLength.get(length) ?? 0) + 1);
    }
    this.ascending = [...this.documentsOfLength.keys()].sort((a, b) => a - b);
  }

  closestTo(length: number): number {
    if ((this.documentsOfLength.get(length) ?? 0) > 1) return length;
    let best = this.closest.get(length);
    if (best !== undefined) return best;
    best = Number.POSITIVE_INFINITY;
    for (const other of this.ascending) {
      if (other !== length && Math.abs(other - length) < Math.abs(best - length)) best = other;
    }
    this.closest.set(length, best);
    return best;
  }
}

/** How often each n-gram of one order occurs in a text. */
function ngramCounts(tokens: readonly string[], order: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + order <= tokens.length; start++) {
    const gram = tokens.slice(start, start + order).join(' '); // no token holds a space
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/**
 * BLEU of new texts against a growing history: the BLEU of `selfBleuOf`, one text at a time. It keeps only the largest
 * count of each n-gram in one text, so that the cost of a text does not grow with the history.
 */
export class HistoryBleu {
  private readonly ceilings: readonly Map<string, number>[] = Array.from({ length: MAX_ORDER }, () => new Map());
  private readonly lengths = new Set<number>();

  /** Mean of BLEU-2..5 against everything added so far, 0..1; 0 for an empty history. */
  score(text: string): number {
    const tokens = textTokens(text);
    if (this.lengths.size === 0 || tokens.length === 0) return 0;
    const logPrecisions = this.ceilings.map((ceiling, i) => {
      let matches = 0;
      for (const [gram, count] of ngramCounts(tokens, i + 1)) matches += Math.min(count, ceiling.get(gram) ?? 0);
      if (matches === 0 && i === 0) return Number.NEGATIVE_INFINITY; // no word is shared
      return Math.log((matches === 0 ? ZERO_COUNT_SMOOTHING : matches) / Math.max(1, tokens.length - i));
    });
    const logBrevity = Math.min(0, 1 - this.closestLength(tokens.length) / tokens.length);
    const bleu = SELF_BLEU_ORDERS.map((k) => {
      const mean = logPrecisions.slice(0, k).reduce((sum, x) => sum + x, 0) / k;
      return Math.exp(logBrevity + mean);
    });
    return bleu.reduce((sum, value) => sum + value, 0) / bleu.length;
  }

  add(text: string): void {
    const tokens = textTokens(text);
    this.lengths.add(tokens.length);
    for (const [i, ceiling] of this.ceilings.entries()) {
      for (const [gram, count] of ngramCounts(tokens, i + 1)) {
        if (count > (ceiling.get(gram) ?? 0)) ceiling.set(gram, count);
      }
    }
  }

  /** The length closest to `length` in the history, the shorter of two equally close. */
  private closestLength(length: number): number {
    let best = Number.POSITIVE_INFINITY;
    for (const other of this.lengths) {
      const gap = Math.abs(other - length) - Math.abs(best - length);
      if (gap < 0 || (gap === 0 && other < best)) best = other;
    }
    return best;
  }
}
