import { FloodgateError } from '../../base/errors.ts';
import { assertUnitRow, dotAt } from '../../base/flat-vectors.ts';

/** A stored attack near a candidate. `closeness` is in [0, 1): 0 = identical, 1 = just at the threshold. */
export interface Neighbour {
  readonly slot: number;
  readonly id: number;
  readonly closeness: number;
}

/**
 * The nearer of the two. At equal closeness the older (smaller id) wins, so that the choice never depends on storage
 * order.
 */
export function nearer(a: Neighbour | undefined, b: Neighbour | undefined): Neighbour | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  if (a.closeness !== b.closeness) return a.closeness < b.closeness ? a : b;
  return a.id <= b.id ? a : b;
}

/** Levenshtein distance over token ids (insertions, deletions, substitutions of cost 1), whole and bounded. */

/** The edit distance of `a` and `b`. O(|a| * |b|). */
export function editDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return boundedEditDistance(a, b, Math.max(a.length, b.length));
}

/**
 * The edit distance of `a` and `b` when it is at most `limit`, otherwise `limit + 1`.
 * Visits only the diagonal band that can hold a path of cost <= limit (Ukkonen): O(limit * min(|a|, |b|)).
 */
export function boundedEditDistance(a: ArrayLike<number>, b: ArrayLike<number>, limit: number): number {
  const beyond = limit + 1;
  if (Math.abs(a.length - b.length) > limit) return beyond;
  let previous = new Int32Array(b.length + 1).fill(beyond);
  let current = new Int32Array(b.length + 1).fill(beyond);
  for (let j = 0; j <= Math.min(b.length, limit); j++) previous[j] = j;
  for (let i = 1; i <= a.length; i++) {
    if (fillBandRow(a[i - 1] as number, b, { row: i, limit, previous, current }) > limit) return beyond;
    [previous, current] = [current, previous];
  }
  return Math.min(previous[b.length] as number, beyond);
}

interface BandRow {
  /** 1-based row of the table, i.e. how many tokens of `a` are consumed. */
  readonly row: number;
  readonly limit: number;
  readonly previous: Int32Array;
  readonly current: Int32Array;
}

/**
 * Fills one row of the band and returns its smallest cost. Once that exceeds the limit, no path can get back below it.
 */
function fillBandRow(token: number, b: ArrayLike<number>, { row, limit, previous, current }: BandRow): number {
  const first = Math.max(1, row - limit);
  const last = Math.min(b.length, row + limit);
  const beyond = limit + 1;
  current[first - 1] = first === 1 ? Math.min(row, beyond) : beyond;
  let smallest = current[first - 1] as number;
  for (let j = first; j <= last; j++) {
    const substitute = (previous[j - 1] as number) + (token === b[j - 1] ? 0 : 1);
    const gap = Math.min(previous[j] as number, current[j - 1] as number) + 1;
    const cost = Math.min(substitute, gap, beyond);
    current[j] = cost;
    if (cost < smallest) smallest = cost;
  }
  // The next row reads one cell past this row's band; a stale value there would be too cheap.
  if (last < b.length) current[last + 1] = beyond;
  return smallest;
}

/** Room for rounding when a bound is turned into a whole number of edits: looser is slower, never wrong. */
const ROUNDING_SLACK = 1e-9;

interface StoredSequence {
  readonly id: number;
  readonly tokens: readonly number[];
  readonly counts: ReadonlyMap<number, number>;
}

/**
 * Finds the stored sequence nearest to a candidate among those with editDistance < ratio * (|a| + |b|). The result
 * equals that of a full scan. Three filters come before the edit distance, each a proven lower bound:
 * 1. prefix: a neighbour shares so many tokens with the candidate that it must hold one of its rarest; only the posting
 *    lists of those are read;
 * 2. length: distance >= ||a| - |b||;
 * 3. bag: distance >= max(|a|, |b|) - (tokens in common, with multiplicity).
 */
export class TokenNeighbourIndex {
  private readonly ratio: number;
  private readonly sequences: StoredSequence[] = [];
  /** token -> slots that hold it. */
  private readonly postings = new Map<number, Set<number>>();

  /** @throws FloodgateError `config` unless 0 < ratio < 1: at 1 every pair would be a near-duplicate. */
  constructor(ratio: number) {
    if (!(ratio > 0 && ratio < 1)) {
      throw new FloodgateError(
        'config',
        `replay buffer: edit-distance ratio is out of range, got ${ratio}, expected (0, 1)`,
      );
    }
    this.ratio = ratio;
  }

  /** Stores `tokens` in `slot` and replaces the slot's content. */
  set(slot: number, id: number, tokens: readonly number[]): void {
    for (const token of this.sequences[slot]?.counts.keys() ?? []) this.removePosting(token, slot);
    const counts = countTokens(tokens);
    this.sequences[slot] = { id, tokens, counts };
    for (const token of counts.keys()) {
      const slots = this.postings.get(token);
      if (slots === undefined) this.postings.set(token, new Set([slot]));
      else slots.add(slot);
    }
  }

  /** The nearest near-duplicate of `tokens`: closeness = distance / (ratio * (|a| + |b|)). */
  nearest(tokens: readonly number[]): Neighbour | undefined {
    const counts = countTokens(tokens);
    let best: Neighbour | undefined;
    for (const slot of this.candidateSlots(tokens)) {
      best = nearer(best, this.neighbourAt(slot, tokens, counts, best?.closeness ?? 1));
    }
    return best;
  }

  /**
   * Slots that hold at least one of the candidate's rarest tokens. From distance < ratio * (|a| + |b|) and the bag
   * bound, a neighbour shares more than max(|a|, |b|) - ratio * (|a| + |b|) >= (1 - 2 ratio) * |a| tokens. Remove that
   * many of the candidate's commonest tokens: the neighbour still holds one of the rest. Above ratio 0.5 a neighbour
   * may share no token.
   */
  candidateSlots(tokens: readonly number[]): ReadonlySet<number> {
    const counts = countTokens(tokens);
    const shared = (1 - 2 * this.ratio) * tokens.length;
    if (shared < 0) return new Set(this.sequences.keys());
    const needed = tokens.length - Math.floor(shared - ROUNDING_SLACK);
    const rarestFirst = [...counts].sort(([a], [b]) => this.frequency(a) - this.frequency(b) || a - b);
    const slots = new Set<number>();
    let covered = 0;
    for (const [token, count] of rarestFirst) {
      if (covered >= needed) break;
      covered += count;
      for (const slot of this.postings.get(token) ?? []) slots.add(slot);
    }
    return slots;
  }

  private neighbourAt(
    slot: number,
    tokens: readonly number[],
    counts: ReadonlyMap<number, number>,
    toBeat: number,
  ): Neighbour | undefined {
    const stored = this.sequences[slot] as StoredSequence;
    const threshold = this.ratio * (tokens.length + stored.tokens.length);
    const limit = Math.min(Math.ceil(threshold) - 1, Math.floor(toBeat * threshold + ROUNDING_SLACK));
    if (Math.abs(tokens.length - stored.tokens.length) > limit) return undefined;
    const longer = Math.max(tokens.length, stored.tokens.length);
    if (longer - commonTokens(counts, stored.counts) > limit) return undefined;
    const distance = boundedEditDistance(tokens, stored.tokens, limit);
    return distance > limit ? undefined : { slot, id: stored.id, closeness: distance / threshold };
  }

  private frequency(token: number): number {
    return this.postings.get(token)?.size ?? 0;
  }

  private removePosting(token: number, slot: number): void {
    const slots = this.postings.get(token);
    slots?.delete(slot);
    if (slots?.size === 0) this.postings.delete(token);
  }
}

function countTokens(tokens: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return counts;
}

function commonTokens(a: ReadonlyMap<number, number>, b: ReadonlyMap<number, number>): number {
  let common = 0;
  for (const [token, count] of a) common += Math.min(count, b.get(token) ?? 0);
  return common;
}

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

  /** Stores `embedding` in `slot` and replaces the slot's content. */
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
