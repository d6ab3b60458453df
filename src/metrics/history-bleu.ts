import { textTokens } from './ngrams.ts';
import { MAX_ORDER, SELF_BLEU_ORDERS, ZERO_COUNT_SMOOTHING } from './self-bleu.ts';

/**
 * N-grams of one half of a history. A history forgets only when both halves are full: after 33.6 million different
 * n-grams, those of 516,000 attacks of 15 words that share none. Both halves then take 0.7 GB.
 */
const MAX_NGRAMS = 2 ** 24;

const FIRST_SLOTS = 1024;
/** Share of the slots that may be taken: above it, searches for a free one become long. */
const MAX_LOAD = 0.75;
const MAX_COUNT = 0xffff;

/**
 * The largest count of each n-gram in one text, by a 64-bit hash of the n-gram: 10 bytes a slot, outside the heap of
 * objects. Two of 33 million n-grams share a hash with probability 3e-5. Open addressing; a count of 0 is a free slot.
 */
class NgramCeilings {
  private high = new Uint32Array(FIRST_SLOTS);
  private low = new Uint32Array(FIRST_SLOTS);
  private counts = new Uint16Array(FIRST_SLOTS);
  size = 0;

  /** The slot of the hash, or the free one where it belongs. */
  private slotOf(high: number, low: number): number {
    const mask = this.counts.length - 1;
    let slot = low & mask;
    while (this.counts[slot] !== 0 && (this.high[slot] !== high || this.low[slot] !== low)) slot = (slot + 1) & mask;
    return slot;
  }

  get(high: number, low: number): number {
    return this.counts[this.slotOf(high, low)] as number;
  }

  /** Raises the largest count to `count`, at most 65,535. */
  raise(high: number, low: number, count: number): void {
    const slot = this.slotOf(high, low);
    const before = this.counts[slot] as number;
    if (count <= before) return;
    this.high[slot] = high;
    this.low[slot] = low;
    this.counts[slot] = Math.min(count, MAX_COUNT);
    if (before !== 0) return;
    this.size++;
    if (this.size > this.counts.length * MAX_LOAD) this.grow();
  }

  private grow(): void {
    const { high, low, counts } = this;
    this.high = new Uint32Array(2 * high.length);
    this.low = new Uint32Array(2 * low.length);
    this.counts = new Uint16Array(2 * counts.length);
    for (let old = 0; old < counts.length; old++) {
      if (counts[old] === 0) continue;
      const slot = this.slotOf(high[old] as number, low[old] as number);
      this.high[slot] = high[old] as number;
      this.low[slot] = low[old] as number;
      this.counts[slot] = counts[old] as number;
    }
  }
}

/** Two 32-bit hashes of a text (cyrb53, with all of its bits), after the finalizer of MurmurHash3. */
function hashOf(text: string): readonly [high: number, low: number] {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 2654435761);
    b = Math.imul(b ^ unit, 1597334677);
  }
  const high = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  const low = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return [high >>> 0, low >>> 0];
}

/** How often each n-gram of one order occurs in a text. */
function ngramCounts(tokens: readonly string[], order: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + order <= tokens.length; start++) {
    const gram = tokens.slice(start, start + order).join(' '); // no token holds a space
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** One half of a history: texts in a row. */
interface Half {
  readonly ceilings: NgramCeilings;
  /** Lengths of the texts, in tokens. */
  readonly lengths: Set<number>;
}

const emptyHalf = (): Half => ({ ceilings: new NgramCeilings(), lengths: new Set() });

/**
 * BLEU of new texts against a growing history: the BLEU of `selfBleuOf`, one text at a time. It keeps only the largest
 * count of each n-gram in one text, so that the cost of a text does not grow with the history.
 *
 * Memory is bounded. The history has two halves of about `MAX_NGRAMS` different n-grams. When the newer one is full, the
 * next text with a new n-gram begins another, and the older one is forgotten: BLEU is then against the latest texts. The
 * same texts in the same order give the same history.
 */
export class HistoryBleu {
  private older = emptyHalf();
  private newer = emptyHalf();
  private readonly mostNgrams: number;

  /** @param mostNgrams of one half; for tests. */
  constructor(mostNgrams = MAX_NGRAMS) {
    this.mostNgrams = mostNgrams;
  }

  /** Mean of BLEU-2..5 against the history, 0..1; 0 for an empty history. */
  score(text: string): number {
    const tokens = textTokens(text);
    const halves = [this.older, this.newer].filter(({ lengths }) => lengths.size > 0);
    if (halves.length === 0 || tokens.length === 0) return 0;
    const logPrecisions = Array.from({ length: MAX_ORDER }, (_, i) => {
      let matches = 0;
      for (const [gram, count] of ngramCounts(tokens, i + 1)) {
        const [high, low] = hashOf(gram);
        const ceiling = halves.reduce((most, { ceilings }) => Math.max(most, ceilings.get(high, low)), 0);
        matches += Math.min(count, ceiling);
      }
      if (matches === 0 && i === 0) return Number.NEGATIVE_INFINITY; // no word is shared
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
    const grams = Array.from({ length: MAX_ORDER }, (_, i) => [...ngramCounts(tokens, i + 1)])
      .flat()
      .map(([gram, count]) => ({ hash: hashOf(gram), count }));
    const isFull = this.newer.ceilings.size >= this.mostNgrams;
    if (isFull && grams.some(({ hash: [high, low] }) => this.newer.ceilings.get(high, low) === 0)) {
      this.older = this.newer;
      this.newer = emptyHalf();
    }
    this.newer.lengths.add(tokens.length);
    for (const { hash, count } of grams) this.newer.ceilings.raise(hash[0], hash[1], count);
  }

  /** The length closest to `length` in the history, the shorter of two equally close. */
  private closestLength(length: number): number {
    let best = Number.POSITIVE_INFINITY;
    for (const other of [...this.older.lengths, ...this.newer.lengths]) {
      const gap = Math.abs(other - length) - Math.abs(best - length);
      if (gap < 0 || (gap === 0 && other < best)) best = other;
    }
    return best;
  }
}
