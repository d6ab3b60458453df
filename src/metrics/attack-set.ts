import { FloodgateError } from '../base/errors.ts';
import { type RandomStream, randomStream } from '../base/random.ts';
import { meanCosineDistance } from './cosine-distance.ts';
import { echoRateByMask } from './echo.ts';
import { type EmbeddingMatrix, selectRows } from './embedding-matrix.ts';
import { lexicalDiversity } from './lexical-diversity.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { selfBleuAtSize } from './self-bleu.ts';
import { measureAtSize, type SubsamplingOptions } from './subsampling.ts';
import { type AttackOutcome, attackSuccess, successIndices } from './success.ts';
import { type ClusterSizes, clusterSizes, uniqueAttacks, uniqueAttacksAtSize } from './unique-attacks.ts';
import { vendiScore } from './vendi-score.ts';

/** Evaluated attacks: texts[i], row i of the embeddings and outcomes[i] belong together. */
export interface AttackSet {
  readonly texts: readonly string[];
  readonly embeddings: EmbeddingMatrix;
  readonly outcomes: readonly AttackOutcome[];
  /** The same attacks judged with their own words masked from the responses; brings the echo rate. */
  readonly maskedOutcomes?: readonly AttackOutcome[];
}

export interface AttackSetOptions {
  /** Seeds the subsamples; the same seed gives the same intervals. */
  readonly seed: number;
  /** Number of attacks at which diversity is stated; the whole set unless sets of different size are compared. */
  readonly size?: number;
  /** Subsamples behind each interval. */
  readonly draws?: number;
  /** Cosine above which two attacks are one. */
  readonly threshold?: number;
}

export interface AttackSetMetrics {
  readonly asr: Measure;
  readonly uniqueAttacks: Measure;
  readonly cosineDistance: Measure;
  readonly cosineDistanceOfSuccesses: Measure;
  readonly selfBleu: Measure;
  readonly vendi: Measure;
  readonly vendiOfSuccesses: Measure;
  readonly distinct1: Measure;
  readonly distinct2: Measure;
  readonly vocabulary: Measure;
  /** Null value when no masked outcomes were given. */
  readonly echoRate: Measure;
}

export interface AttackSetReport {
  readonly metrics: AttackSetMetrics;
  readonly successes: number;
  /** Attacks that no response of could be scored. */
  readonly excluded: number;
  readonly unscoredResponses: number;
  readonly clusters: ClusterSizes;
}

/**
 * Every metric of one evaluated set of attacks, JSON-safe. Diversity of all attacks is stated at `size` attacks;
 * diversity of successes, the lexical counts and cluster sizes are those of the whole set.
 * @throws FloodgateError `usage` when the parts differ in length or size is larger than the set.
 */
export function measureAttackSet(set: AttackSet, options: AttackSetOptions): AttackSetReport {
  assertParallel(set);
  const { texts, embeddings, outcomes } = set;
  const { seed, size = texts.length, draws, threshold } = options;
  const streamOf = (metric: string): RandomStream => randomStream(seed, 'metrics', metric);
  const { asr, successes, excluded, unscoredResponses } = attackSuccess(outcomes);
  const succeeded = successIndices(outcomes);
  const successEmbeddings = selectRows(embeddings, succeeded);

  const atSize = (metric: string, measure: (options: SubsamplingOptions) => Measure): Measure =>
    size === 0
      ? pointMeasure(null, 0, metric)
      : measure({ size, stream: streamOf(metric), ...(draws === undefined ? {} : { draws }) });
  const overRows = (metric: string, statistic: (matrix: EmbeddingMatrix) => Measure): Measure =>
    atSize(metric, (subsampling) => {
      const chosen = (indices: readonly number[]): number | null => statistic(selectRows(embeddings, indices)).value;
      const measure = measureAtSize(embeddings.rows, subsampling, chosen);
      return { ...measure, method: `${statistic(selectRows(embeddings, [])).method}, ${measure.method}` };
    });
  const withThreshold = threshold === undefined ? {} : { threshold };

  return {
    metrics: {
      asr,
      uniqueAttacks: atSize('uniqueAttacks', (subsampling) =>
        uniqueAttacksAtSize(embeddings, succeeded, { ...subsampling, ...withThreshold }),
      ),
      cosineDistance: overRows('cosineDistance', meanCosineDistance),
      cosineDistanceOfSuccesses: meanCosineDistance(successEmbeddings),
      selfBleu: atSize('selfBleu', (subsampling) => selfBleuAtSize(texts, subsampling)),
      vendi: overRows('vendi', vendiScore),
      vendiOfSuccesses: vendiScore(successEmbeddings),
      ...lexicalDiversity(texts),
      echoRate:
        set.maskedOutcomes === undefined
          ? pointMeasure(null, 0, 'not judged with masked responses')
          : echoRateByMask(outcomes, set.maskedOutcomes).rate,
    },
    successes,
    excluded,
    unscoredResponses,
    clusters: clusterSizes(uniqueAttacks(embeddings, succeeded, threshold).clusters),
  };
}

function assertParallel({ texts, embeddings, outcomes }: AttackSet): void {
  if (texts.length === embeddings.rows && texts.length === outcomes.length) return;
  throw new FloodgateError(
    'usage',
    `measure attacks: parts differ in length, got ${texts.length} texts, ${embeddings.rows} embeddings, ` +
      `${outcomes.length} outcomes, expected one of each an attack`,
  );
}
