import { append, maxOf, minOf } from '../base/long-lists.ts';
import { randomStream } from '../base/random.ts';
import { cosineOfRows, type EmbeddingMatrix } from './embedding-matrix.ts';
import { type Measure, pointMeasure } from './measure.ts';
import {
  chao1,
  countRare,
  type DiscoveryPoint,
  discoveryCurve,
  missingMass,
  type RareCounts,
} from './species-sampling.ts';
import { finishSteps, type Steps } from './steps.ts';
import { firstAttacks, type Similarity, UNIQUE_ATTACK_COSINE } from './unique-attacks.ts';

export interface UnseenWays {
  /** Probability that the next success belongs to a cluster not yet seen. */
  readonly missingMass: Measure;
  /** Median, least and greatest estimate over orders and thresholds: the effect of the clustering alone. */
  readonly missingMassSpread: Measure;
  /** Lower bound of the number of clusters. */
  readonly chao1: Measure;
  readonly chao1Spread: Measure;
  /** Unique attacks against attacks evaluated, up to twice as many. */
  readonly curve: readonly DiscoveryPoint[];
}

export interface UnseenWaysOptions {
  /** Seeds the orders. */
  readonly seed: number;
  /** Cosine above which two attacks are one, in every figure but the spread. */
  readonly threshold?: number;
  /** Random orders in which representatives are chosen. */
  readonly orders?: number;
  /** `MAX_UNSEEN_SUCCESSES`, but for tests. */
  readonly mostSuccesses?: number;
}

/**
 * Successes from which unseen ways are estimated: each order and threshold compares all pairs. A larger sample is cut to
 * its first attacks, which are an independent sample as well.
 */
export const MAX_UNSEEN_SUCCESSES = 4096;

/** Common choices of the threshold, all of which the spread covers. */
const SPREAD_THRESHOLDS = [0.7, 0.75, 0.8];
const DEFAULT_ORDERS = 21;

/**
 * How many ways of success are still unseen, from one *independent* sample of the attacker at temperature 1. Row i of
 * `embeddings` is attack i; `successes` are the rows that succeeded. A training log is not such a sample.
 * Each figure is the median over random orders of representatives; its interval has the median lower and the median
 * upper bound. The curve is that of the order with the median number of clusters. Above `MAX_UNSEEN_SUCCESSES`, the
 * figures are those of the first attacks, and each method says so.
 */
export function unseenWays(
  sample: { readonly embeddings: EmbeddingMatrix; readonly successes: readonly number[]; readonly attacks: number },
  options: UnseenWaysOptions,
): UnseenWays {
  return finishSteps(unseenWaysInSteps(sample, options));
}

/** `unseenWays`, which may pause at every attack. */
export function* unseenWaysInSteps(
  sample: { readonly embeddings: EmbeddingMatrix; readonly successes: readonly number[]; readonly attacks: number },
  options: UnseenWaysOptions,
): Steps<UnseenWays> {
  const { seed, threshold = UNIQUE_ATTACK_COSINE, orders = DEFAULT_ORDERS } = options;
  const { embeddings } = sample;
  const most = options.mostSuccesses ?? MAX_UNSEEN_SUCCESSES;
  const { attacks, successes, note } = firstAttacks(sample.successes, sample.attacks, most);
  const similarity = yield* cosinesInSteps(embeddings, successes);
  const positions = successes.map((_row, i) => i);
  const partitionsAt = function* (cosine: number): Steps<Partition[]> {
    const found: Partition[] = [];
    for (let order = 0; order < orders; order++) {
      const shuffled = randomStream(seed, 'metrics', 'unseen ways', order).shuffle(positions);
      found.push(yield* partitionInSteps(similarity, shuffled, cosine));
    }
    return found;
  };
  const partitions = yield* partitionsAt(threshold);
  const thresholds = [...new Set([...SPREAD_THRESHOLDS, threshold])].sort((a, b) => a - b);
  const all: Partition[] = [];
  for (const cosine of thresholds) append(all, cosine === threshold ? partitions : yield* partitionsAt(cosine));
  const spreadName = `over ${orders} orders and cosine > ${thresholds.join(', ')}: median, least, greatest${note}`;
  const medianName = `median of ${orders} orders, cosine > ${threshold}${note}`;
  const byClusters = [...partitions].sort((a, b) => a.sizes.length - b.sizes.length);
  const middle = byClusters[Math.floor((orders - 1) / 2)] as Partition;
  return {
    missingMass: medianMeasure(partitions.map(massOf), medianName),
    missingMassSpread: spreadMeasure(all.map(massOf), spreadName),
    chao1: medianMeasure(partitions.map(chao1Of), medianName),
    chao1Spread: spreadMeasure(all.map(chao1Of), spreadName),
    curve: discoveryCurve(middle.sizes, { attacks }).map((point) => {
      return { ...point, clusters: { ...point.clusters, method: `${point.clusters.method}${note}` } };
    }),
  };
}

function massOf(partition: Partition): Measure {
  return missingMass(rareCountsOf(partition));
}

function chao1Of({ sizes }: Partition): Measure {
  const draws = sizes.reduce((sum, size) => sum + size, 0);
  return chao1(sizes.length, countRare(sizes, draws));
}

function medianMeasure(measures: readonly Measure[], name: string): Measure {
  const first = measures[0] as Measure;
  const median = (of: (measure: Measure) => number | null): number | null => medianOf(measures.map(of));
  return {
    ...first,
    value: median(({ value }) => value),
    low: median(({ low }) => low),
    high: median(({ high }) => high),
    method: `${first.method}; ${name}`,
  };
}

function spreadMeasure(measures: readonly Measure[], method: string): Measure {
  const values = measures.flatMap(({ value }) => (value === null ? [] : [value]));
  const n = measures[0]?.n ?? 0;
  if (values.length === 0) return pointMeasure(null, n, method);
  return {
    value: medianOf(values),
    low: minOf(values),
    high: maxOf(values),
    n,
    method,
    confidence: null,
  };
}

function medianOf(values: readonly (number | null)[]): number | null {
  const known = values.flatMap((value) => (value === null ? [] : [value])).sort((a, b) => a - b);
  if (known.length === 0) return null;
  const middle = (known.length - 1) / 2;
  return ((known[Math.floor(middle)] as number) + (known[Math.ceil(middle)] as number)) / 2;
}

/** Every attack in exactly one cluster, and which clusters depend on a single draw. */
export interface Partition {
  /** Attacks of each cluster, in the order of their representatives. */
  readonly sizes: readonly number[];
  /**
   * Whether each cluster would exist without its first attack. If not, it depends on one attack that is *new to all
   * others*: a singleton of the Good-Turing estimate. Clusters of one attack are never confirmed.
   */
  readonly isConfirmed: readonly boolean[];
}

/** The counts of the Good-Turing estimate: clusters that depend on one draw, and confirmed ones seen twice. */
export function rareCountsOf({ sizes, isConfirmed }: Partition): RareCounts {
  return {
    draws: sizes.reduce((sum, size) => sum + size, 0),
    singletons: isConfirmed.filter((confirmed) => !confirmed).length,
    doubletons: sizes.filter((size, cluster) => size === 2 && isConfirmed[cluster]).length,
  };
}

/** Cosines between the named rows, by position in `rows`. */
export function cosinesAmong(embeddings: EmbeddingMatrix, rows: readonly number[]): Similarity {
  return finishSteps(cosinesInSteps(embeddings, rows));
}

function* cosinesInSteps(embeddings: EmbeddingMatrix, rows: readonly number[]): Steps<Similarity> {
  const size = rows.length;
  const cosine: Similarity = (i, j) => cosineOfRows(embeddings, rows[i] as number, rows[j] as number);
  if (size > MAX_UNSEEN_SUCCESSES) return cosine; // a table of more would take too much memory
  const table = new Float32Array(size * size);
  for (let i = 0; i < size; i++) {
    yield;
    for (let j = 0; j <= i; j++) {
      table[i * size + j] = cosine(i, j);
      table[j * size + i] = cosine(i, j);
    }
  }
  return (i, j) => table[i * size + j] as number;
}

/**
 * Partitions the attacks of `order` in two passes. The first chooses representatives greedily: an attack becomes one when
 * its cosine to every earlier one is <= threshold. The second gives each attack to the most similar representative, so
 * its cluster depends on the representatives and not on its own place in the order.
 *
 * The representatives are themselves drawn, and the Good-Turing estimate is still unbiased. Without attack i, the
 * representatives change only when i is one of them. Attack i is then new to the others exactly when every attack near i
 * has another representative before it. So E[unconfirmed / n] is the probability that one more draw after n - 1 opens a
 * new cluster, for draws in exchangeable order and any clusters.
 */
export function partitionInOrder(
  similarity: Similarity,
  order: readonly number[],
  threshold = UNIQUE_ATTACK_COSINE,
): Partition {
  return finishSteps(partitionInSteps(similarity, order, threshold));
}

function* partitionInSteps(similarity: Similarity, order: readonly number[], threshold: number): Steps<Partition> {
  const representatives: number[] = [];
  const isConfirmed: boolean[] = [];
  for (const attack of order) {
    yield;
    let near = 0;
    let nearest = 0;
    for (let cluster = 0; cluster < representatives.length && near < 2; cluster++) {
      if (similarity(attack, representatives[cluster] as number) <= threshold) continue;
      near++;
      nearest = cluster;
    }
    if (near === 0) isConfirmed[representatives.push(attack) - 1] = false;
    else if (near === 1) isConfirmed[nearest] = true;
  }
  const sizes = new Array<number>(representatives.length).fill(0);
  const own = new Map(representatives.map((attack, cluster) => [attack, cluster]));
  for (const attack of order) {
    yield;
    const cluster = own.get(attack) ?? mostSimilar(similarity, attack, representatives);
    sizes[cluster] = (sizes[cluster] as number) + 1;
  }
  return { sizes, isConfirmed };
}

/** The earliest of the most similar. */
function mostSimilar(similarity: Similarity, attack: number, representatives: readonly number[]): number {
  let best = 0;
  let highest = Number.NEGATIVE_INFINITY;
  for (let cluster = 0; cluster < representatives.length; cluster++) {
    const cosine = similarity(attack, representatives[cluster] as number);
    if (cosine <= highest) continue;
    highest = cosine;
    best = cluster;
  }
  return best;
}
