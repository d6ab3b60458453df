import { dotAt } from '../../base/flat-vectors.ts';

/**
 * Coverage of meaning: of many draws of the reference, which are free, those are asked that represent most others, by
 * sentence embedding. A way that the reference writes once in 300 draws is then met with one call, where as many plain
 * draws spend several on its likelier ways. It is greedy maximum coverage (Nemhauser, Wolsey and Fisher 1978).
 */

/** Most candidates of one coverage: each is compared with all before it. */
export const MOST_COVERED = 4096;

/**
 * Candidates within this cosine cover each other. Over 40 sets of regions in draws of a search world, 0.5, 0.55 and 0.6
 * find as many (docs/search.md).
 */
const COVERS = 0.55;

const BITS = 32;

/**
 * The candidates in the order in which to ask them: each is the one with the most uncovered candidates within the cosine,
 * itself included, and covers them. Once all are covered, those that were not taken are uncovered again. The earlier
 * candidate wins a tie.
 */
export class MeaningCoverage<T> {
  private readonly candidates: T[] = [];
  private readonly embeddings: Float32Array[] = [];
  /** Bit j of row i, j <= i: the two lie within the cosine. */
  private readonly rows: Uint32Array[] = [];
  private readonly isTaken: boolean[] = [];
  private isUncovered: boolean[] = [];
  /** Candidates within the cosine of each one that were not taken, itself included. */
  private readonly left: number[] = [];
  /** Those of them that are uncovered. */
  private gains: number[] = [];
  private uncovered = 0;

  /** Adds a candidate before the first is taken. @param embedding L2-normalised, of the same width as the others. */
  add(candidate: T, embedding: Float32Array): void {
    const index = this.candidates.length;
    const row = new Uint32Array(Math.floor(index / BITS) + 1);
    const near = (j: number): void => {
      row[j >>> 5] = (row[j >>> 5] as number) | (1 << (j & (BITS - 1)));
      this.left[j] = (this.left[j] as number) + 1;
    };
    this.left.push(0);
    for (const [j, other] of this.embeddings.entries()) {
      if (dotAt(embedding, 0, other, 0, embedding.length) < COVERS) continue;
      near(j);
      this.left[index] = (this.left[index] as number) + 1;
    }
    near(index);
    this.rows.push(row);
    this.candidates.push(candidate);
    this.embeddings.push(embedding);
    this.isTaken.push(false);
  }

  /** Takes the next candidate; undefined when all are taken. */
  take(): T | undefined {
    if (this.uncovered === 0) this.uncoverRest();
    if (this.uncovered === 0) return undefined;
    let best = -1;
    for (const [i, gain] of this.gains.entries())
      if (!this.isTaken[i] && (best < 0 || gain > (this.gains[best] as number))) best = i;
    this.isTaken[best] = true;
    for (let j = 0; j < this.candidates.length; j++) {
      if (!this.areNear(best, j)) continue;
      this.left[j] = (this.left[j] as number) - 1;
      if (this.isUncovered[j]) this.cover(j);
    }
    return this.candidates[best];
  }

  private areNear(a: number, b: number): boolean {
    const row = a > b ? a : b;
    const bit = a > b ? b : a;
    return ((((this.rows[row] as Uint32Array)[bit >>> 5] as number) >>> (bit & (BITS - 1))) & 1) === 1;
  }

  private cover(index: number): void {
    this.isUncovered[index] = false;
    this.uncovered--;
    for (let i = 0; i < this.gains.length; i++)
      if (this.areNear(i, index)) this.gains[i] = (this.gains[i] as number) - 1;
  }

  private uncoverRest(): void {
    this.isUncovered = this.isTaken.map((isTaken) => !isTaken);
    this.uncovered = this.isUncovered.filter(Boolean).length;
    this.gains = [...this.left];
  }
}
