import { type Measure, pointMeasure } from './measure.ts';
import { countNgrams } from './ngram-corpus.ts';

export interface LexicalDiversity {
  /** Different unigrams / all unigrams over all texts together, in (0, 1]; null without tokens. Falls as n grows. */
  readonly distinct1: Measure;
  /** The same for bigrams (none across texts). */
  readonly distinct2: Measure;
  /** Number of different tokens. */
  readonly vocabulary: Measure;
}

/** Distinct-1, distinct-2 and vocabulary size of the texts, tokenised by `textTokens`. */
export function lexicalDiversity(texts: readonly string[]): LexicalDiversity {
  const { documents, distinct } = countNgrams(texts, 2);
  const shareOfDistinct = (order: number): number | null => {
    const total = documents.reduce((sum, document) => sum + (document.orders[order - 1]?.total ?? 0), 0);
    return total === 0 ? null : (distinct[order - 1] as number) / total;
  };
  return {
    distinct1: pointMeasure(shareOfDistinct(1), texts.length, 'distinct-1'),
    distinct2: pointMeasure(shareOfDistinct(2), texts.length, 'distinct-2'),
    vocabulary: pointMeasure(distinct[0] as number, texts.length, 'vocabulary'),
  };
}
