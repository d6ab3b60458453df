import { FloodgateError } from '../../base/errors.ts';
import { dotAt } from '../../base/flat-vectors.ts';

/**
 * A reward that spreads over ways: R'(x) = R(x) / (1 + n(x) / n0)^eta, where n(x) counts the distinct successes near x.
 * At eta 1 a way weighs as much as its reward, however often it can be worded; at 0 nothing changes. The count grows
 * while the attacker learns, so the stated distribution moves with what was found.
 */
export interface SpreadRule {
  readonly eta: number;
  /** Successes that halve the reward at eta 1. */
  readonly n0: number;
  /** Cosine similarity above which two attacks are near. */
  readonly cosine: number;
}

/** log of the factor on R, nats: at most 0. */
export function spreadTerm({ eta, n0 }: SpreadRule, neighbours: number): number {
  return -eta * Math.log1p(neighbours / n0);
}

/** Successes that a pool holds; the oldest leave. Bounds a checkpoint (9 MB at width 384) and the cost of a count. */
export const POOL_CAPACITY = 4096;

interface PoolState {
  readonly width: number;
  readonly next: number;
  readonly texts: readonly string[];
  /** Rows [texts, width] of float32, little-endian, in base64. */
  readonly rows: string;
}

/** The distinct successes of a stage by their sentence embeddings: a ring of the last `POOL_CAPACITY`. */
export class SuccessPool {
  private readonly texts: string[] = [];
  private readonly known = new Set<string>();
  private width = 0;
  private rows = new Float32Array(0);
  /** Slot of the next success. */
  private next = 0;

  get size(): number {
    return this.texts.length;
  }

  /** @param embedding [D], L2-normalised; the first sets D. A text that is known already changes nothing. */
  add(text: string, embedding: Float32Array): void {
    if (this.known.has(text)) return;
    if (this.width === 0) this.width = embedding.length;
    if (embedding.length !== this.width) {
      throw new FloodgateError(
        'usage',
        `success pool: got an embedding of ${embedding.length}, expected ${this.width}`,
      );
    }
    const slot = this.next;
    const former = this.texts[slot];
    if (former !== undefined) this.known.delete(former);
    this.texts[slot] = text;
    this.known.add(text);
    this.reserve(slot + 1);
    this.rows.set(embedding, slot * this.width);
    this.next = (slot + 1) % POOL_CAPACITY;
  }

  /** Successes whose cosine to `embedding` is above `cosine`. O(size x D). */
  near(embedding: Float32Array, cosine: number): number {
    let count = 0;
    for (let slot = 0; slot < this.texts.length; slot++) {
      if (dotAt(embedding, 0, this.rows, slot * this.width, this.width) > cosine) count++;
    }
    return count;
  }

  /** JSON-safe; `SuccessPool.from` rebuilds an equal pool, bit for bit. */
  state(): PoolState {
    const { buffer } = this.rows.slice(0, this.size * this.width);
    return { width: this.width, next: this.next, texts: [...this.texts], rows: Buffer.from(buffer).toString('base64') };
  }

  /** @throws FloodgateError `run` when the state is damaged. */
  static from(saved: unknown): SuccessPool {
    const { width, next, texts, rows } = saved as PoolState;
    const bytes = Buffer.from(rows, 'base64');
    if (bytes.length !== texts.length * width * Float32Array.BYTES_PER_ELEMENT || texts.length > POOL_CAPACITY) {
      throw new FloodgateError('run', 'restore success pool: saved state is damaged', {
        hint: 'resume from an earlier checkpoint of this run',
      });
    }
    const pool = new SuccessPool();
    const values = new Float32Array(new Uint8Array(bytes).buffer);
    for (const [i, text] of texts.entries()) pool.add(text, values.subarray(i * width, (i + 1) * width));
    pool.next = next;
    return pool;
  }

  private reserve(rows: number): void {
    const needed = rows * this.width;
    if (this.rows.length >= needed) return;
    const grown = new Float32Array(Math.max(needed, 2 * this.rows.length));
    grown.set(this.rows);
    this.rows = grown;
  }
}
