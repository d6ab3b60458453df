import { type AttackSet, attackMetric } from './attack-set.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { corpusNote, countNgramsInSteps } from './ngrams.ts';
import { finishSteps, type Steps } from './steps.ts';

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
  return finishSteps(lexicalDiversityInSteps(texts));
}

function* lexicalDiversityInSteps(texts: readonly string[]): Steps<LexicalDiversity> {
  const corpus = yield* countNgramsInSteps(texts, 2);
  const { documents, distinct } = corpus;
  const measure = (value: number | null, name: string): Measure =>
    pointMeasure(value, documents.length, `${name}${corpusNote(corpus, texts.length)}`);
  const shareOfDistinct = (order: number): number | null => {
    const total = documents.reduce((sum, document) => sum + (document.orders[order - 1]?.total ?? 0), 0);
    return total === 0 ? null : (distinct[order - 1] as number) / total;
  };
  return {
    distinct1: measure(shareOfDistinct(1), 'distinct-1'),
    distinct2: measure(shareOfDistinct(2), 'distinct-2'),
    vocabulary: measure(distinct[0] as number, 'vocabulary'),
  };
}

/** Counts by list of texts, so that three metrics and several judges share one count. */
const counted = new WeakMap<readonly string[], LexicalDiversity>();

function* lexicalDiversityOf({ texts }: AttackSet): Steps<LexicalDiversity> {
  const diversity = counted.get(texts) ?? (yield* lexicalDiversityInSteps(texts));
  counted.set(texts, diversity);
  return diversity;
}

function* measureOf(set: AttackSet, name: keyof LexicalDiversity): Steps<Measure> {
  return (yield* lexicalDiversityOf(set))[name];
}

export const distinct1 = attackMetric({
  name: 'distinct1',
  isOfAttacks: true,
  words: { label: 'Distinct words', explain: 'Different words as a share of all words written.', form: 'share' },
  steps: (set) => measureOf(set, 'distinct1'),
});

export const distinct2 = attackMetric({
  name: 'distinct2',
  isOfAttacks: true,
  words: { label: 'Distinct word pairs', explain: 'Different pairs of words as a share of all pairs.', form: 'share' },
  steps: (set) => measureOf(set, 'distinct2'),
});

export const vocabulary = attackMetric({
  name: 'vocabulary',
  isOfAttacks: true,
  words: { label: 'Vocabulary', explain: 'Different words written.', form: 'count' },
  steps: (set) => measureOf(set, 'vocabulary'),
});
