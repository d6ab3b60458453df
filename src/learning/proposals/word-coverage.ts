import { LowestFirstHeap } from '../replay/lowest-first-heap.ts';

/**
 * Coverage: several candidates are drawn for each attack that is tried, and those are taken whose words were asked least
 * for how often the reference writes them. Drawing is free, asking is not. It is a count-based bonus for exploration, over
 * runs of words in place of states (Tang et al. 2017, arXiv 1611.04717). Nothing is learned from a candidate that was not
 * tried, and the objective is off-policy, so the stated distribution stays the same.
 */

/** Longest run of words that is counted. */
const LONGEST_RUN = 3;
/** Counters; two runs that share one only look more familiar than they are. */
const SLOTS = 2 ** 22;
/** A run that was asked k times is worth 1 / (1 + k)^2 of a new one: the sum is mostly over new runs. */
const POWER = 2;

/** FNV-1a over UTF-16 units, 32 bits. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** The counter of each distinct run of 1 to 3 words of a text. */
function slotsOf(text: string): Uint32Array {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const slots = new Set<number>();
  for (let at = 0; at < words.length; at++) {
    for (let length = 1; length <= LONGEST_RUN && at + length <= words.length; length++) {
      slots.add(hashOf(words.slice(at, at + length).join(' ')) % SLOTS);
    }
  }
  return Uint32Array.from(slots);
}

/**
 * The candidates in the order in which to ask them. Each is the one with the largest sum of sqrt(c) / (1 + k)^2 over its
 * distinct runs: c candidates hold the run, k of those taken before. A run that the reference writes often and that
 * nobody asked is a likely way; one that it wrote once is mostly chance. The earlier candidate wins a tie.
 */
export class WordCoverage<T extends { readonly text: string }> {
  private readonly candidates: readonly T[];
  /** The runs of each candidate, numbered from 0. */
  private readonly runs: readonly Uint32Array[];
  /** sqrt of the candidates that hold a run. */
  private readonly weight: Float32Array;
  private readonly asked: Uint32Array;
  /** The worth of each run to a candidate that holds it, now. */
  private readonly gain: Float64Array;
  /** Negative values. They only rise while others are taken, so only the lowest needs to be right (lazy greedy). */
  private readonly heap = new LowestFirstHeap();
  private left: number;

  constructor(candidates: readonly T[]) {
    this.candidates = candidates;
    this.left = candidates.length;
    const numberOf = new Uint32Array(SLOTS); // from 1; small numbers keep what is read often close together
    let count = 0;
    this.runs = candidates.map(({ text }) =>
      slotsOf(text).map((slot) => {
        if (numberOf[slot] === 0) numberOf[slot] = ++count;
        return (numberOf[slot] as number) - 1;
      }),
    );
    const held = new Uint32Array(count);
    for (const runs of this.runs) for (const run of runs) held[run] = (held[run] as number) + 1;
    this.weight = Float32Array.from(held, Math.sqrt);
    this.asked = new Uint32Array(count);
    this.gain = Float64Array.from(this.weight);
    for (const i of candidates.keys()) this.heap.set(i, -this.valueOf(i), i);
  }

  /** Takes the next candidate; undefined when all are taken. */
  take(): T | undefined {
    if (this.left === 0) return undefined;
    this.left--;
    for (;;) {
      const best = this.heap.lowest() as number;
      const value = this.valueOf(best);
      if (-value === this.heap.keyOf(best)) return this.takeAt(best);
      this.heap.set(best, -value, best);
    }
  }

  private takeAt(index: number): T {
    this.heap.set(index, Number.POSITIVE_INFINITY, index);
    for (const run of this.runs[index] as Uint32Array) {
      const asked = (this.asked[run] as number) + 1;
      this.asked[run] = asked;
      this.gain[run] = (this.weight[run] as number) / (1 + asked) ** POWER;
    }
    return this.candidates[index] as T;
  }

  private valueOf(index: number): number {
    let value = 0;
    for (const run of this.runs[index] as Uint32Array) value += this.gain[run] as number;
    return value;
  }
}
