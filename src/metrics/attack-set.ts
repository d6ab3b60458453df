import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { type EmbeddingMatrix, selectRows } from './embedding-matrix.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { finishSteps, type Steps } from './steps.ts';
import { measureAtSizeInSteps, type SubsamplingOptions } from './subsampling.ts';
import { type AttackOutcome, successIndices } from './success.ts';

/** Evaluated attacks: texts[i], row i of the embeddings and outcomes[i] belong together. */
export interface AttackSet {
  readonly texts: readonly string[];
  readonly embeddings: EmbeddingMatrix;
  readonly outcomes: readonly AttackOutcome[];
  /** The same attacks, judged with their own words masked from the responses. The echo rate needs them. */
  readonly maskedOutcomes?: readonly AttackOutcome[];
}

export interface AttackSetOptions {
  /** Seeds the subsamples; the same seed gives the same intervals. */
  readonly seed: number;
  /** Attacks at which diversity is measured; the whole set unless sets of different size are compared. */
  readonly size?: number;
  /** Subsamples behind each interval. */
  readonly draws?: number;
  /** Cosine above which two attacks are one. */
  readonly threshold?: number;
}

/** How a report shows a metric. */
export interface MetricText {
  /** Two to four words. */
  readonly label: string;
  /** One sentence for a reader who does not know the metric. */
  readonly explain: string;
  /** How the number is written: 42%, 1,234 or 0.42. Default `number`. */
  readonly form?: 'share' | 'count' | 'number';
  /** Shown in the main table, not only in the table of every figure. Default false. */
  readonly isMain?: boolean;
}

/** One metric of an evaluated set of attacks, by one judge. */
export interface AttackMetric<Name extends string = string> {
  /** Camel case: the name in the run database, in report.json and in exports. */
  readonly name: Name;
  readonly words: MetricText;
  /** True where the measure depends on texts and embeddings alone: it is then measured once for all judges. */
  readonly isOfAttacks?: boolean;
  /** Pure and seeded: the same set and options give the same measure. Unknown is a null value, never NaN. */
  measure(set: AttackSet, options: AttackSetOptions): Measure;
  /** The same measure as a computation that may pause; a metric that can take seconds has it. */
  steps?(set: AttackSet, options: AttackSetOptions): Steps<Measure>;
}

/** Returns the definition, with its name kept as a literal type. A metric that may pause measures by its steps. */
export function attackMetric<Name extends string>(
  definition: AttackMetric<Name> | (Omit<AttackMetric<Name>, 'measure'> & Required<Pick<AttackMetric<Name>, 'steps'>>),
): AttackMetric<Name> {
  if ('measure' in definition) return definition;
  return { ...definition, measure: (set, options) => finishSteps(definition.steps(set, options)) };
}

/** The embeddings of the successful attacks [s, D], in order. */
export function successEmbeddings({ embeddings, outcomes }: AttackSet): EmbeddingMatrix {
  return selectRows(embeddings, successIndices(outcomes));
}

/** Measures at `options.size` attacks with the random stream of `metric`; null for an empty set. */
export function* measureAtSetSize(
  metric: string,
  set: AttackSet,
  options: AttackSetOptions,
  measure: (subsampling: SubsamplingOptions) => Steps<Measure>,
): Steps<Measure> {
  const { seed, size = set.texts.length, draws } = options;
  if (size === 0) return pointMeasure(null, 0, metric);
  const stream = randomStream(seed, 'metrics', metric);
  return yield* measure({ size, stream, ...(draws === undefined ? {} : { draws }) });
}

/** A statistic of embeddings at `options.size` attacks, with an interval by subsampling. */
export function measureOverRows(
  metric: string,
  set: AttackSet,
  options: AttackSetOptions,
  statistic: (matrix: EmbeddingMatrix) => Steps<Measure>,
): Steps<Measure> {
  const { embeddings } = set;
  return measureAtSetSize(metric, set, options, function* (subsampling) {
    const measure = yield* measureAtSizeInSteps(embeddings.rows, subsampling, function* (indices) {
      return (yield* statistic(selectRows(embeddings, indices))).value;
    });
    const { method } = yield* statistic(selectRows(embeddings, []));
    return { ...measure, method: `${method}, ${measure.method}` };
  });
}

/** @throws FloodgateError `usage` when the parts of the set differ in length. */
export function assertParallel({ texts, embeddings, outcomes }: AttackSet): void {
  if (texts.length === embeddings.rows && texts.length === outcomes.length) return;
  throw new FloodgateError(
    'usage',
    `measure attacks: parts differ in length, got ${texts.length} texts, ${embeddings.rows} embeddings, ` +
      `${outcomes.length} outcomes, expected one of each per attack`,
  );
}
