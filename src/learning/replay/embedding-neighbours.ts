import { FloodgateError } from '../../base/errors.ts';
import { assertUnitRow, dotAt } from '../../base/flat-vectors.ts';
import { type Neighbour, nearer } from './near-duplicate.ts';

const FIRST_ROWS = 64;

/**
 * Finds the stored embedding nearest to a candidate among those with cosine > threshold: one matrix-vector product over
 * a flat [slots, D] Float32Array, rows L2-normalised. The first embedding sets D.
 */
export class EmbeddingNeighbourIndex {
  private readonly threshold: number;
  private width = 0;
  private rows = new Float32Array(0);
  private readonly ids: number[] = [];

  /** @throws FloodgateError `config` unless -1 <= threshold < 1. */
  constructor(threshold: number) {
    if (!(threshold >= -1 && threshold < 1)) {
      throw new FloodgateError(
        'config',
        `replay buffer: cosine threshold is out of range, got ${threshold}, expected [-1, 1)`,
      );
    }
    this.threshold = threshold;
  }

  /**
   * Returns `embedding` when it fits this index.
   * @throws FloodgateError `usage` when it is absent, of another width, or not L2-normalised.
   */
  requireFitting(embedding: Float32Array | undefined): Float32Array {
    const expected = this.width === 0 ? 'one of any width' : `width ${this.width}`;
    if (embedding === undefined || embedding.length === 0 || (this.width !== 0 && embedding.length !== this.width)) {
      const got = embedding === undefined ? 'none' : `width ${embedding.length}`;
      throw new FloodgateError('usage', `replay buffer: embedding does not fit, got ${got}, expected ${expected}`);
    }
    assertUnitRow(embedding, 0, embedding.length, 'replay buffer');
    return embedding;
  }

  /** Stores `embedding` in `slot`, in place of what stood there. */
  set(slot: number, id: number, embedding: Float32Array): void {
    this.width = embedding.length;
    const needed = (slot + 1) * this.width;
    if (this.rows.length < needed) {
      const grown = new Float32Array(Math.max(needed, 2 * this.rows.length, FIRST_ROWS * this.width));
      grown.set(this.rows);
      this.rows = grown;
    }
    this.rows.set(embedding, slot * this.width);
    this.ids[slot] = id;
  }

  /** The nearest near-duplicate: closeness = (1 - cosine) / (1 - threshold), never below 0. */
  nearest(embedding: Float32Array): Neighbour | undefined {
    let best: Neighbour | undefined;
    for (let slot = 0; slot < this.ids.length; slot++) {
      const cosine = dotAt(embedding, 0, this.rows, slot * this.width, this.width);
      if (cosine <= this.threshold) continue;
      const closeness = Math.max(0, 1 - cosine) / (1 - this.threshold);
      best = nearer(best, { slot, id: this.ids[slot] as number, closeness });
    }
    return best;
  }
}
