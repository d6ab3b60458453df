import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { cosineOfRows, createEmbeddingMatrix, type EmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import type { Measure } from '../../src/metrics/measure.ts';
import { clusterAttacks } from '../../src/metrics/unique-attacks.ts';
import { unseenWays } from '../../src/metrics/unseen-ways.ts';

/** A world of embeddings whose clusters have no clear borders. */
export interface BorderTrial {
  readonly setting: string;
  readonly missingMass: Measure;
  /** Median over orders of the probability that a further success opens a new cluster, by fresh draws. */
  readonly trueMissingMass: number;
  /** Singletons / successes in the one order of sampling, for comparison. */
  readonly naive: number;
}

const WIDTH = 12;
/** Further successes from which the truth is counted: it is known to about 0.01. */
const FRESH = 3000;
const ORDERS = 11;
const THRESHOLD = 0.75;

/** Successes around centres of unequal weight, spread so that many lie at the border of a cluster. */
export function runBorderTrial(seed: number): BorderTrial {
  const stream = randomStream(seed, 'border trial');
  const centres = 3 + stream.nextInt(60);
  const spread = 0.15 + 0.35 * stream.nextFloat();
  const successes = 30 + stream.nextInt(220);
  const exponent = 1.5 * stream.nextFloat();
  const weights = Array.from({ length: centres }, (_, k) => (k + 1) ** -exponent);
  const middles = weights.map(() => unitVector(stream));
  const embeddings = drawAround(middles, weights, { count: successes + FRESH, spread, stream });
  const rows = Array.from({ length: successes }, (_, i) => i);
  const options = { seed, threshold: THRESHOLD, orders: ORDERS };
  const { missingMass } = unseenWays({ embeddings, successes: rows, attacks: successes }, options);
  const similarity = (i: number, j: number): number => cosineOfRows(embeddings, i, j);
  const truths = Array.from({ length: ORDERS }, (_, order) => {
    const shuffled = randomStream(seed, 'metrics', 'unseen ways', order).shuffle(rows);
    const clusters = clusterAttacks(similarity, shuffled, THRESHOLD);
    let isNew = 0;
    for (let fresh = successes; fresh < successes + FRESH; fresh++) {
      if (clusters.every(({ representative }) => similarity(fresh, representative) <= THRESHOLD)) isNew++;
    }
    return isNew / FRESH;
  }).sort((a, b) => a - b);
  const naive = clusterAttacks(similarity, rows, THRESHOLD).filter(({ members }) => members.length === 1).length;
  return {
    setting: JSON.stringify({ seed, centres, spread, successes, exponent }),
    missingMass,
    trueMissingMass: truths[(ORDERS - 1) / 2] as number,
    naive: naive / successes,
  };
}

function unitVector(stream: RandomStream): number[] {
  const values = Array.from({ length: WIDTH }, () => stream.nextNormal());
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

function drawAround(
  middles: readonly (readonly number[])[],
  weights: readonly number[],
  { count, spread, stream }: { readonly count: number; readonly spread: number; readonly stream: RandomStream },
): EmbeddingMatrix {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const data = new Float32Array(count * WIDTH);
  for (let row = 0; row < count; row++) {
    let left = stream.nextFloat() * total;
    const found = weights.findIndex((weight) => {
      left -= weight;
      return left < 0;
    });
    const middle = middles[Math.max(0, found)] as readonly number[];
    const values = middle.map((value) => value + spread * stream.nextNormal());
    const length = Math.hypot(...values);
    data.set(
      values.map((value) => value / length),
      row * WIDTH,
    );
  }
  return createEmbeddingMatrix(data, count, WIDTH);
}
