import { SELF_BLEU_ORDERS, ZERO_COUNT_SMOOTHING } from './self-bleu.ts';
import { textTokens } from './text-tokens.ts';

const MAX_ORDER = 5;

/** How often each n-gram of one order occurs in a text. */
function ngramCounts(tokens: readonly string[], order: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + order <= tokens.length; start++) {
    const gram = tokens.slice(start, start + order).join(' '); // no token holds a space
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/**
 * BLEU of new texts against a growing history: the same BLEU as `selfBleuOf`, one text at a time. Only the largest
 * count of each n-gram in one text is kept, so that a text costs its own n-grams and not the history's.
 */
export class HistoryBleu {
  private readonly ceilings: readonly Map<string, number>[] = Array.from({ length: MAX_ORDER }, () => new Map());
  private readonly lengths = new Set<number>();

  /** Mean of BLEU-2..5 against everything added so far, 0..1; 0 for an empty history. */
  score(text: string): number {
    const tokens = textTokens(text);
    if (this.lengths.size === 0 || tokens.length === 0) return 0;
    const logPrecisions = this.ceilings.map((ceiling, i) => {
      let matches = 0;
      for (const [gram, count] of ngramCounts(tokens, i + 1)) matches += Math.min(count, ceiling.get(gram) ?? 0);
      if (matches === 0 && i === 0) return Number.NEGATIVE_INFINITY; // not one word is shared
      return Math.log((matches === 0 ? ZERO_COUNT_SMOOTHING : matches) / Math.max(1, tokens.length - i));
    });
    const logBrevity = Math.min(0, 1 - this.closestLength(tokens.length) / tokens.length);
    const bleu = SELF_BLEU_ORDERS.map((k) => {
      const mean = logPrecisions.slice(0, k).reduce((sum, x) => sum + x, 0) / k;
      return Math.exp(logBrevity + mean);
    });
    return bleu.reduce((sum, value) => sum + value, 0) / bleu.length;
  }

  add(text: string): void {
    const tokens = textTokens(text);
    this.lengths.add(tokens.length);
    for (const [i, ceiling] of this.ceilings.entries()) {
      for (const [gram, count] of ngramCounts(tokens, i + 1)) {
        if (count > (ceiling.get(gram) ?? 0)) ceiling.set(gram, count);
      }
    }
  }

  /** The length closest to `length` in the history, the shorter of two equally close. */
  private closestLength(length: number): number {
    let best = Number.POSITIVE_INFINITY;
    for (const other of this.lengths) {
      const gap = Math.abs(other - length) - Math.abs(best - length);
      if (gap < 0 || (gap === 0 && other < best)) best = other;
    }
    return best;
  }
}
