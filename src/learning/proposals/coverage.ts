/**
 * Coverage: several candidates are drawn for each attack that is tried, and those whose words were asked least are taken.
 * Drawing is free, asking is not. It is a count-based bonus for exploration, over runs of words in place of states (Tang
 * et al. 2017, arXiv 1611.04717). Nothing is learned from a candidate that was not tried, and the objective is
 * off-policy, so the stated distribution stays the same.
 */

/** Longest run of words that is counted. */
const LONGEST_RUN = 3;
/** Counters; two runs that share one only look more familiar than they are. */
const SLOTS = 2 ** 18;
/** A run that was asked k times is worth 1 / (1 + k)^2: the sum is mostly the number of new runs. */
const POWER = 2;

/** FNV-1a over UTF-16 units, 32 bits. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** The counter of each distinct run of 1 to 3 words of a text. */
function slotsOf(text: string): number[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const slots = new Set<number>();
  for (let at = 0; at < words.length; at++) {
    for (let length = 1; length <= LONGEST_RUN && at + length <= words.length; length++) {
      slots.add(hashOf(words.slice(at, at + length).join(' ')) % SLOTS);
    }
  }
  return [...slots];
}

/** How often each run of words was asked. */
export class AskedRuns {
  private readonly counts = new Uint32Array(SLOTS);

  /**
   * Chooses `count` of the candidates, one after the other, each the one with the most to ask: the largest sum of
   * 1 / (1 + k)^2 over its distinct runs. Chosen ones count as asked. O(candidates x count). The earlier candidate wins a
   * tie.
   */
  choose<T extends { readonly text: string }>(candidates: readonly T[], count: number): T[] {
    const left = candidates.map((candidate) => ({ candidate, slots: slotsOf(candidate.text) }));
    const chosen: T[] = [];
    while (chosen.length < count && left.length > 0) {
      let best = 0;
      let most = -1;
      for (const [i, { slots }] of left.entries()) {
        const value = this.valueOf(slots);
        if (value > most) [best, most] = [i, value];
      }
      const [taken] = left.splice(best, 1) as [(typeof left)[number]];
      this.addSlots(taken.slots);
      chosen.push(taken.candidate);
    }
    return chosen;
  }

  private valueOf(slots: readonly number[]): number {
    return slots.reduce((sum, slot) => sum + 1 / (1 + (this.counts[slot] as number)) ** POWER, 0);
  }

  private addSlots(slots: readonly number[]): void {
    for (const slot of slots) this.counts[slot] = (this.counts[slot] as number) + 1;
  }
}
