import { attackMetric, measureAtSetSize } from './attack-set.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { corpusNote, countNgrams, countNgramsInSteps, type NgramCorpus, type NgramDocument } from './ngrams.ts';
import { finishSteps, type Steps } from './steps.ts';
import { measureAtSizeInSteps, type SubsamplingOptions } from './subsampling.ts';

/** The BLEU orders that are averaged, as in the curiosity work: BLEU-2 to BLEU-5. */
export const SELF_BLEU_ORDERS = [2, 3, 4, 5] as const;
export const MAX_ORDER = 5;

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
  return finishSteps(selfBleuAtSizeInSteps(texts, options));
}

/** Texts beyond `MAX_CORPUS_TOKENS` are left out, and the method says so. */
function* selfBleuAtSizeInSteps(texts: readonly string[], options: SubsamplingOptions): Steps<Measure> {
  const corpus = yield* countNgramsInSteps(texts, MAX_ORDER);
  const total = corpus.documents.length;
  const bounded = { bounds: [0, 1], ...options, size: Math.min(options.size, total) } as const;
  const measure = yield* measureAtSizeInSteps(total, bounded, function* (indices) {
    return (yield* selfBleuInSteps(corpus, indices)).value;
  });
  return { ...measure, method: `${METHOD}, ${measure.method}${corpusNote(corpus, texts.length)}` };
}

export const selfBleuMetric = attackMetric({
  name: 'selfBleu',
  isOfAttacks: true,
  words: {
    label: 'Likeness of wording',
    explain: 'Self-BLEU: how much of an attack’s wording appears in the other attacks. Lower is more varied.',
  },
  steps: (set, options) =>
    measureAtSetSize('selfBleu', set, options, (subsampling) => selfBleuAtSizeInSteps(set.texts, subsampling)),
});

const METHOD = 'self-BLEU, mean of BLEU-2..5';

/**
 * Self-BLEU of the chosen documents. BLEU-k = brevity penalty (closest reference length) * exp(mean over n = 1..k of
 * log p_n), with p_n = clipped matches / n-grams (at least 1) and 0.1 for a match count of 0. BLEU is 0 when no word is
 * shared. Clipping needs the largest count among the *other* texts. The two largest counts of each n-gram give it for
 * every text, so the cost is O(n-grams) and not O(texts^2).
 */
export function selfBleuOf(corpus: NgramCorpus, indices?: readonly number[]): SelfBleu {
  return finishSteps(selfBleuInSteps(corpus, indices));
}

/** Documents between two places where self-BLEU may pause. */
const STEP_DOCUMENTS = 1024;

function* selfBleuInSteps(corpus: NgramCorpus, indices?: readonly number[]): Steps<SelfBleu> {
  const documents = indices?.map((index) => corpus.documents[index] as NgramDocument) ?? corpus.documents;
  if (documents.length < 2) return { value: null, byOrder: null };
  const ceilings: ClippingCounts[] = [];
  for (const [order, distinct] of corpus.distinct.entries()) {
    yield;
    ceilings.push(clippingCounts(documents, order, distinct));
  }
  const lengths = new ReferenceLengths(documents);
  const sums: Record<(typeof SELF_BLEU_ORDERS)[number], number> = { 2: 0, 3: 0, 4: 0, 5: 0 };
  for (const [d, document] of documents.entries()) {
    if (d % STEP_DOCUMENTS === 0) yield;
    const logPrecisions = ceilings.map((ceiling, order) => logPrecision(document, d, order, ceiling));
    if (logPrecisions[0] === Number.NEGATIVE_INFINITY) continue;
    const logBrevity = Math.min(0, 1 - lengths.closestTo(document.length) / document.length);
    for (const k of SELF_BLEU_ORDERS) {
      const mean = logPrecisions.slice(0, k).reduce((sum, x) => sum + x, 0) / k;
      sums[k] += Math.exp(logBrevity + mean);
    }
  }
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
