import { randomStream } from '../../base/random.ts';
import { cosineOfRows, createEmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { clusterAttacks } from '../../metrics/unique-attacks.ts';

export type Split = 'training' | 'validation';

/** Where a text belongs: texts of one cluster lie in one split, so that validation shows what was not seen alike. */
export interface Placed {
  readonly cluster: number;
  readonly split: Split;
}

export interface SplitOptions {
  readonly embed: (texts: readonly string[]) => Promise<Float32Array>;
  readonly threshold: number;
  readonly validationShare: number;
  readonly seed: number;
}

/** Clusters by greedy cosine, numbered in the order of their first text. */
async function clustersOf(texts: readonly string[], { embed, threshold }: SplitOptions): Promise<number[]> {
  const embeddings = await embed(texts);
  const matrix = createEmbeddingMatrix(embeddings, texts.length, embeddings.length / texts.length);
  const clusterOf = new Array<number>(texts.length).fill(0);
  const all = texts.map((_, i) => i);
  const clusters = clusterAttacks((i, j) => cosineOfRows(matrix, i, j), all, threshold);
  for (const [cluster, { members }] of clusters.entries()) for (const member of members) clusterOf[member] = cluster;
  return clusterOf;
}

/**
 * Splits texts by whole clusters: clusters go to validation, in an order drawn from the seed, as long as the share is not
 * passed. A cluster that is larger than what is left is passed over; with one cluster everything is training.
 */
export async function splitByCluster(texts: readonly string[], options: SplitOptions, name: string): Promise<Placed[]> {
  if (texts.length === 0) return [];
  const clusterOf = await clustersOf(texts, options);
  const sizes = new Map<number, number>();
  for (const cluster of clusterOf) sizes.set(cluster, (sizes.get(cluster) ?? 0) + 1);
  const wanted = Math.floor(texts.length * options.validationShare);
  const held = new Set<number>();
  let count = 0;
  for (const cluster of randomStream(options.seed, 'tuning split', name).shuffle([...sizes.keys()])) {
    const size = sizes.get(cluster) as number;
    if (count + size > wanted) continue;
    held.add(cluster);
    count += size;
  }
  return clusterOf.map((cluster) => ({ cluster, split: held.has(cluster) ? 'validation' : 'training' }));
}
