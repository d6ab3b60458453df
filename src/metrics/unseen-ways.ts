import { randomStream } from '../base/random.ts';
import { chao1 } from './chao1.ts';
import { type DiscoveryPoint, discoveryCurve } from './discovery-curve.ts';
import type { EmbeddingMatrix } from './embedding-matrix.ts';
import { cosinesAmong, type Partition, partitionInOrder, rareCountsOf } from './fixed-partition.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { missingMass } from './missing-mass.ts';
import { UNIQUE_ATTACK_COSINE } from './unique-attacks.ts';

export interface UnseenWays {
  /** Share of the attacker's successes that lies in clusters not yet seen. */
  readonly missingMass: Measure;
  /** Median, least and greatest estimate over orders and thresholds: how far the clustering alone moves it. */
  readonly missingMassSpread: Measure;
  /** Lower bound of the number of clusters there are. */
  readonly chao1: Measure;
  readonly chao1Spread: Measure;
  /** Unique attacks against attacks evaluated, up to twice as many. */
  readonly curve: readonly DiscoveryPoint[];
}

export interface UnseenWaysOptions {
  /** Seeds the orders. */
  readonly seed: number;
  /** Cosine above which two attacks are one, for everything but the spread. */
  readonly threshold?: number;
  /** Orders in which representatives are chosen. */
  readonly orders?: number;
}

/** Common choices of the threshold: the spread goes over all of them. */
const SPREAD_THRESHOLDS = [0.7, 0.75, 0.8];
const DEFAULT_ORDERS = 21;

/**
 * How many ways of succeeding are still unfound, from one *independent* sample of the attacker at temperature 1: row i of
 * `embeddings` is attack i, `successes` are the rows that succeeded. Attacks of a training log are no such sample.
 * Each figure is the median over orders of choosing representatives, its interval the median of the lower and of the
 * upper bounds; the curve is that of the order with the median number of clusters.
 */
export function unseenWays(
  sample: { readonly embeddings: EmbeddingMatrix; readonly successes: readonly number[]; readonly attacks: number },
  options: UnseenWaysOptions,
): UnseenWays {
  const { seed, threshold = UNIQUE_ATTACK_COSINE, orders = DEFAULT_ORDERS } = options;
  const { embeddings, successes, attacks } = sample;
  const similarity = cosinesAmong(embeddings, successes);
  const positions = successes.map((_row, i) => i);
  const partitionsAt = (cosine: number): Partition[] =>
    Array.from({ length: orders }, (_, order) => {
      const shuffled = randomStream(seed, 'metrics', 'unseen ways', order).shuffle(positions);
      return partitionInOrder(similarity, shuffled, cosine);
    });
  const partitions = partitionsAt(threshold);
  const thresholds = [...new Set([...SPREAD_THRESHOLDS, threshold])].sort((a, b) => a - b);
  const all = thresholds.flatMap((cosine) => (cosine === threshold ? partitions : partitionsAt(cosine)));
  const spreadName = `over ${orders} orders and cosine > ${thresholds.join(', ')}: median, least, greatest`;
  const medianName = `median of ${orders} orders, cosine > ${threshold}`;
  const byClusters = [...partitions].sort((a, b) => a.sizes.length - b.sizes.length);
  const middle = byClusters[Math.floor((orders - 1) / 2)] as Partition;
  return {
    missingMass: medianMeasure(partitions.map(massOf), medianName),
    missingMassSpread: spreadMeasure(all.map(massOf), spreadName),
    chao1: medianMeasure(partitions.map(chao1Of), medianName),
    chao1Spread: spreadMeasure(all.map(chao1Of), spreadName),
    curve: discoveryCurve(middle.sizes, { attacks }),
  };
}

function massOf(partition: Partition): Measure {
  return missingMass(rareCountsOf(partition));
}

function chao1Of({ sizes }: Partition): Measure {
  const clustersOf = (size: number): number => sizes.filter((each) => each === size).length;
  const draws = sizes.reduce((sum, size) => sum + size, 0);
  return chao1(sizes.length, { draws, singletons: clustersOf(1), doubletons: clustersOf(2) });
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
    low: Math.min(...values),
    high: Math.max(...values),
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
