import { cosineOfRows, createEmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { clusterAttacks } from '../../metrics/unique-attacks.ts';

export interface RoundClusters {
  /** Clusters of the round's successes. */
  readonly clusters: number;
  /** Those whose representative lies farther than the threshold from every representative of every earlier round. */
  readonly fresh: number;
}

/**
 * How many clusters each round of attacks found, and how many of them no earlier round had. `rounds`: the embeddings of
 * each round's successes, [n, width] flat and L2-normalised, in their order.
 */
export function countNewClusters(rounds: readonly Float32Array[], width: number, threshold: number): RoundClusters[] {
  const rows = rounds.map((flat) => flat.length / width);
  const all = new Float32Array(rounds.reduce((sum, { length }) => sum + length, 0));
  const starts = rows.map((_, round) => rows.slice(0, round).reduce((sum, count) => sum + count, 0));
  for (const [round, flat] of rounds.entries()) all.set(flat, (starts[round] as number) * width);
  const matrix = createEmbeddingMatrix(all, all.length / width, width);
  const cosine = (i: number, j: number): number => cosineOfRows(matrix, i, j);
  const earlier: number[] = [];
  return rows.map((count, round) => {
    const own = Array.from({ length: count }, (_, i) => (starts[round] as number) + i);
    const representatives = clusterAttacks(cosine, own, threshold).map(({ representative }) => representative);
    const fresh = representatives.filter((row) => earlier.every((other) => cosine(row, other) <= threshold));
    earlier.push(...representatives);
    return { clusters: representatives.length, fresh: fresh.length };
  });
}
