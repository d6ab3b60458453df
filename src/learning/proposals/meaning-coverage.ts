import { dotAt } from '../../base/flat-vectors.ts';

/**
 * Coverage of meaning: of many draws of the reference, which are free, those are asked that represent most others, by
 * sentence embedding. A way that the reference writes once in 300 draws is then met with one call, where as many plain
 * draws spend several on its likelier ways. It is greedy maximum coverage (Nemhauser, Wolsey and Fisher 1978).
 */

/** Most candidates of one coverage: each is compared with all before it, so the time grows with their square. */
export const MOST_COVERED = 16_384;

/**
 * Candidates within this cosine cover each other. Over 40 sets of regions in draws of a search world, 0.5, 0.55 and 0.6
 * find as many (docs/search.md).
 */
const COVERS = 0.55;

const BITS = 32;

/** The ones among the bits of a 32-bit word (Hacker's Delight, 5-1). */
function countOnes(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

function setBit(bits: Uint32Array, place: number): void {
  bits[place >>> 5] = (bits[place >>> 5] as number) | (1 << (place & (BITS - 1)));
}

/**
 * The candidates in the order in which to ask them: each is the one with the most uncovered candidates within the cosine,
 * itself included, and covers them. Once all are covered, those that were not taken are uncovered again. The earlier
 * candidate wins a tie.
 */
export class MeaningCoverage<T> {
  private readonly candidates: T[] = [];
  private readonly embeddings: Float32Array[] = [];
  /** Bit j of row i: the two lie within the cosine. */
  private readonly near: Uint32Array[] = [];
  private readonly words: number;
  private readonly left: Uint32Array;
  private readonly uncovered: Uint32Array;
  /** Bound of each one's gain: the gain at its last count. It only falls until `uncoverRest`. */
  private readonly bounds: number[] = [];

  /** @param count how many candidates will be added, at most. */
  constructor(count: number) {
    this.words = Math.ceil(count / BITS);
    this.left = new Uint32Array(this.words);
    this.uncovered = new Uint32Array(this.words);
  }

  /** Adds a candidate before the first is taken. @param embedding L2-normalised, of the same width as the others. */
  add(candidate: T, embedding: Float32Array): void {
    const index = this.candidates.length;
    const row = new Uint32Array(this.words);
    for (const [j, other] of this.embeddings.entries()) {
      if (dotAt(embedding, 0, other, 0, embedding.length) < COVERS) continue;
      setBit(row, j);
      setBit(this.near[j] as Uint32Array, index);
    }
    setBit(row, index);
    setBit(this.left, index);
    this.near.push(row);
    this.candidates.push(candidate);
    this.embeddings.push(embedding);
    this.bounds.push(0);
  }

  /** Takes the next candidate; undefined when all are taken. */
  take(): T | undefined {
    if (this.uncovered.every((word) => word === 0)) this.uncoverRest();
    const best = this.best();
    if (best < 0) return undefined;
    this.left[best >>> 5] = (this.left[best >>> 5] as number) & ~(1 << (best & (BITS - 1)));
    const covered = this.near[best] as Uint32Array;
    for (let w = 0; w < this.words; w++) this.uncovered[w] = (this.uncovered[w] as number) & ~(covered[w] as number);
    return this.candidates[best];
  }

  /** The first of those that would cover most; -1 when none is left. Counts only where the bound could win. */
  private best(): number {
    let best = -1;
    let most = 0;
    for (let i = 0; i < this.bounds.length; i++) {
      if ((this.bounds[i] as number) <= most) continue;
      const gain = this.gain(i);
      this.bounds[i] = gain;
      if (gain <= most) continue;
      best = i;
      most = gain;
    }
    return best;
  }

  private gain(index: number): number {
    const row = this.near[index] as Uint32Array;
    let gain = 0;
    for (let w = 0; w < this.words; w++) gain += countOnes((row[w] as number) & (this.uncovered[w] as number));
    return gain;
  }

  private isLeft(index: number): boolean {
    return (((this.left[index >>> 5] as number) >>> (index & (BITS - 1))) & 1) === 1;
  }

  private uncoverRest(): void {
    this.uncovered.set(this.left);
    for (const index of this.bounds.keys()) this.bounds[index] = this.isLeft(index) ? this.candidates.length : 0;
  }
}
