import { type AttackSet, attackMetric } from './attack-set.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { countNgrams } from './ngrams.ts';

export interface LexicalDiversity {
  /** Different unigrams / all unigrams of all texts, in (0, 1]; null without tokens. It falls as n grows. */
  readonly distinct1: Measure;
  /** The same for bigrams within texts. */
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

/** Counts by list of texts, so that three metrics and several judges share one count. */
const counted = new WeakMap<readonly string[], LexicalDiversity>();

function lexicalDiversityOf({ texts }: AttackSet): LexicalDiversity {
  const diversity = counted.get(texts) ?? lexicalDiversity(texts);
  counted.set(texts, diversity);
  return diversity;
}

export const distinct1 = attackMetric({
  name: 'distinct1',
  words: { label: 'Distinct words', explain: 'Different words as a share of all words written.', form: 'share' },
  measure: (set) => lexicalDiversityOf(set).distinct1,
});

export const distinct2 = attackMetric({
  name: 'distinct2',
  words: { label: 'Distinct word pairs', explain: 'Different pairs of words as a share of all pairs.', form: 'share' },
  measure: (set) => lexicalDiversityOf(set).distinct2,
});

export const vocabulary = attackMetric({
  name: 'vocabulary',
  words: { label: 'Vocabulary', explain: 'Different words written.', form: 'count' },
  measure: (set) => lexicalDiversityOf(set).vocabulary,
});
