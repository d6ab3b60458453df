import { cosineOfRows, type EmbeddingMatrix } from './embedding-matrix.ts';
import type { RareCounts } from './missing-mass.ts';
import { type Similarity, UNIQUE_ATTACK_COSINE } from './unique-attacks.ts';

/** Attacks up to which all cosines are kept, s^2 floats; more are computed when asked for. */
const MAX_TABLE_ROWS = 4096;

/** Every attack in exactly one cluster, and which clusters rest on a single draw. */
export interface Partition {
  /** Attacks of each cluster, in the order in which the clusters were opened. */
  readonly sizes: readonly number[];
  /**
   * Whether each cluster would still be there had its first attack not been drawn. One that would not rests on an attack
   * that is *new to all others*: a singleton of the Good-Turing estimate. Clusters of one attack are never confirmed.
   */
  readonly isConfirmed: readonly boolean[];
}

/** What the Good-Turing estimate needs: clusters that rest on one draw, and confirmed ones seen twice. */
export function rareCountsOf({ sizes, isConfirmed }: Partition): RareCounts {
  return {
    draws: sizes.reduce((sum, size) => sum + size, 0),
    singletons: isConfirmed.filter((confirmed) => !confirmed).length,
    doubletons: sizes.filter((size, cluster) => size === 2 && isConfirmed[cluster]).length,
  };
}

/** Cosines between the named rows, by position in `rows`. */
export function cosinesAmong(embeddings: EmbeddingMatrix, rows: readonly number[]): Similarity {
  const size = rows.length;
  const cosine: Similarity = (i, j) => cosineOfRows(embeddings, rows[i] as number, rows[j] as number);
  if (size > MAX_TABLE_ROWS) return cosine;
  const table = new Float32Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      table[i * size + j] = cosine(i, j);
      table[j * size + i] = cosine(i, j);
    }
  }
  return (i, j) => table[i * size + j] as number;
}

/**
 * Partitions the attacks of `order` in two passes: representatives are chosen greedily (an attack whose cosine to every
 * representative so far is <= threshold becomes one), then, with the representatives fixed, each attack goes to the most
 * similar. So an attack's cluster does not depend on when it came, only on who the representatives are.
 *
 * The representatives are themselves drawn. That leaves the Good-Turing estimate unbiased, because leaving attack i out
 * changes the representatives only when i is one, and i is then new to them exactly when every attack near i has another
 * representative before it. So E[unconfirmed / n] is the probability that one more draw after n - 1 opens a new cluster,
 * for draws in exchangeable order and without any assumption about the clusters.
 */
export function partitionInOrder(
  similarity: Similarity,
  order: readonly number[],
  threshold = UNIQUE_ATTACK_COSINE,
): Partition {
  const representatives: number[] = [];
  const isConfirmed: boolean[] = [];
  for (const attack of order) {
    const near = representatives.flatMap((representative, cluster) =>
      similarity(attack, representative) > threshold ? [cluster] : [],
    );
    if (near.length === 0) isConfirmed[representatives.push(attack) - 1] = false;
    else if (near.length === 1) isConfirmed[near[0] as number] = true;
  }
  const sizes = new Array<number>(representatives.length).fill(0);
  const own = new Map(representatives.map((attack, cluster) => [attack, cluster]));
  for (const attack of order) {
    const cluster = own.get(attack) ?? mostSimilar(similarity, attack, representatives);
    sizes[cluster] = (sizes[cluster] as number) + 1;
  }
  return { sizes, isConfirmed };
}

/** The earliest of the most similar. */
function mostSimilar(similarity: Similarity, attack: number, representatives: readonly number[]): number {
  let best = 0;
  let highest = Number.NEGATIVE_INFINITY;
  for (const [cluster, representative] of representatives.entries()) {
    const cosine = similarity(attack, representative);
    if (cosine <= highest) continue;
    highest = cosine;
    best = cluster;
  }
  return best;
}
