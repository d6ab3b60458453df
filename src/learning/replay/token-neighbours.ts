import { FloodgateError } from '../../base/errors.ts';
import { boundedEditDistance } from './edit-distance.ts';
import { type Neighbour, nearer } from './near-duplicate.ts';

/** Room for rounding when a bound is turned into a whole number of edits: looser is slower, never wrong. */
const ROUNDING_SLACK = 1e-9;

interface StoredSequence {
  readonly id: number;
  readonly tokens: readonly number[];
  readonly counts: ReadonlyMap<number, number>;
}

/**
 * Finds the stored sequence nearest to a candidate among those with editDistance < ratio * (|a| + |b|), exactly as a
 * full scan would, without one. Three filters stand before the edit distance, each a proven lower bound:
 * 1. prefix: a neighbour shares so many tokens with the candidate that it must hold one of its rarest; only the
 *    posting lists of those are read;
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

  /** Stores `tokens` in `slot`, in place of what stood there. */
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
   * bound, a neighbour shares more than max(|a|, |b|) - ratio * (|a| + |b|) >= (1 - 2 ratio) * |a| tokens: take
   * away that many of the commonest, and it must still hold one of the rest. Above ratio 0.5 nothing need be shared.
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
