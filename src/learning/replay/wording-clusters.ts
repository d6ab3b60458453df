import { FloodgateError } from '../../base/errors.ts';
import { dotAt } from '../../base/flat-vectors.ts';
import { isUnsafe } from '../reward/reward.ts';
import type { ReplayEntry } from './replay-entry.ts';

/** Clusters at once; a success beyond them joins the nearest. Bounds the cost of a success and a checkpoint. */
export const MAX_CLUSTERS = 1024;

const FIRST_ROWS = 64;

export interface WordingClustersState {
  readonly width: number;
  /** Leaders [slots, width] of float32, little-endian, in base64. */
  readonly leaders: string;
  /** Id of an entry and the slot of its cluster. */
  readonly members: readonly (readonly [id: number, slot: number])[];
}

/**
 * The successes of a replay buffer in clusters of like wording: greedy leader clustering of their sentence embeddings. A
 * success joins the nearest leader above the cosine, or leads a cluster of its own. A leader's embedding outlives its
 * entry; a cluster without members gives its slot away. Each success is compared once, with at most `MAX_CLUSTERS`.
 */
export class WordingClusters {
  private readonly cosine: number;
  private readonly most: number;
  private width = 0;
  private leaders = new Float32Array(0);
  /** Members of the cluster in each slot. */
  private readonly sizes: number[] = [];
  private readonly slotOfId = new Map<number, number>();

  /** @throws FloodgateError `run` when the saved state is damaged. */
  constructor(cosine: number, saved?: WordingClustersState, most = MAX_CLUSTERS) {
    this.cosine = cosine;
    this.most = most;
    if (saved === undefined) return;
    const bytes = Buffer.from(saved.leaders, 'base64');
    const slots = bytes.length / (saved.width * Float32Array.BYTES_PER_ELEMENT || 1);
    if (
      !Number.isSafeInteger(slots) ||
      slots > most ||
      saved.members.some(([, slot]) => !(slot >= 0 && slot < slots))
    ) {
      throw new FloodgateError('run', 'restore wording clusters: saved state is damaged', {
        hint: 'resume from an earlier checkpoint of this run',
      });
    }
    this.width = saved.width;
    this.leaders = new Float32Array(new Uint8Array(bytes).buffer);
    for (let slot = 0; slot < slots; slot++) this.sizes.push(0);
    for (const [id, slot] of saved.members) this.join(id, slot);
  }

  /** Takes in the buffer's new successes, in storage order, and forgets entries that left. The same again changes nothing. */
  follow(entries: readonly ReplayEntry[]): void {
    const present = new Set(entries.map(({ id }) => id));
    for (const [id, slot] of this.slotOfId) {
      if (present.has(id)) continue;
      this.slotOfId.delete(id);
      this.sizes[slot] = (this.sizes[slot] as number) - 1;
    }
    for (const { id, score, embedding } of entries) {
      if (!this.slotOfId.has(id) && isUnsafe(score.meanUnsafe)) this.join(id, this.slotFor(embedding));
    }
  }

  /** The cluster of an entry; undefined for one that never was a success. */
  clusterOf(id: number): number | undefined {
    return this.slotOfId.get(id);
  }

  /** JSON-safe; the constructor rebuilds equal clusters from it, bit for bit. */
  state(): WordingClustersState {
    const { buffer } = this.leaders.slice(0, this.sizes.length * this.width);
    return { width: this.width, leaders: Buffer.from(buffer).toString('base64'), members: [...this.slotOfId] };
  }

  private join(id: number, slot: number): void {
    this.slotOfId.set(id, slot);
    this.sizes[slot] = (this.sizes[slot] as number) + 1;
  }

  /** The slot of the nearest cluster, or a new one. @throws FloodgateError `usage` without a fitting embedding. */
  private slotFor(embedding: Float32Array | undefined): number {
    if (embedding === undefined || (this.width !== 0 && embedding.length !== this.width)) {
      const got = embedding === undefined ? 'none' : `width ${embedding.length}`;
      throw new FloodgateError('usage', `wording clusters: embedding does not fit, got ${got}, expected ${this.width}`);
    }
    this.width = embedding.length;
    let nearest = -1;
    let highest = Number.NEGATIVE_INFINITY;
    for (const [slot, size] of this.sizes.entries()) {
      if (size === 0) continue;
      const cosine = dotAt(embedding, 0, this.leaders, slot * this.width, this.width);
      if (cosine > highest) [nearest, highest] = [slot, cosine];
    }
    if (highest > this.cosine) return nearest;
    const free = this.sizes.indexOf(0);
    if (free === -1 && this.sizes.length >= this.most) return nearest;
    return this.lead(embedding, free === -1 ? this.sizes.length : free);
  }

  private lead(embedding: Float32Array, slot: number): number {
    const needed = (slot + 1) * this.width;
    if (this.leaders.length < needed) {
      const grown = new Float32Array(Math.max(needed, 2 * this.leaders.length, FIRST_ROWS * this.width));
      grown.set(this.leaders);
      this.leaders = grown;
    }
    this.leaders.set(embedding, slot * this.width);
    this.sizes[slot] = 0;
    return slot;
  }
}
