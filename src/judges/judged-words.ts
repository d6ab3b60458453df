/**
 * Longest text that a judge reads, in UTF-16 units, so that a target cannot flood a judge with megabytes. The rest is
 * not read. Real responses (a few hundred tokens) are a hundred times shorter.
 */
export const MAX_JUDGED_UNITS = 65_536;

/** The first `MAX_JUDGED_UNITS` of `text`, for judges that read from the start. */
export function judgedHead(text: string): string {
  return text.length <= MAX_JUDGED_UNITS ? text : text.slice(0, MAX_JUDGED_UNITS);
}

/** The last `MAX_JUDGED_UNITS` of `text`, for judges that read the end. */
export function judgedTail(text: string): string {
  return text.length <= MAX_JUDGED_UNITS ? text : text.slice(-MAX_JUDGED_UNITS);
}

/**
 * The text in lower case, with compatibility forms folded and without accents or invisible characters: `Ｃａｆé` becomes
 * `cafe`. Marks are removed before the decomposition too, because reordering thousands of stacked marks is quadratic.
 */
export function normaliseText(text: string): string {
  return text
    .replace(/[\p{M}\p{Cf}]+/gu, '')
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}+/gu, '');
}

/** The runs of letters and digits of the normalised text, in order. */
export function normalisedWords(text: string): string[] {
  return normaliseText(text).match(/[\p{L}\p{N}]+/gu) ?? [];
}

const utf8 = new TextEncoder();

/** A 64-bit hash as two unsigned 32-bit halves. */
export interface TermHash {
  readonly high: number;
  readonly low: number;
}

/**
 * The 64-bit FNV-1a hash of the term's UTF-8 bytes, as `lab/golden/models/judge_asset.py` stores it.
 * It is computed in halves, because BigInt allocates at every step: prime = 2^40 + 0x1b3, so
 * (high, low) * prime = (high * 0x1b3 + carry + low * 2^8, low * 0x1b3) modulo 2^32 each.
 */
export function termHash(term: string): TermHash {
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (const byte of utf8.encode(term)) {
    const product = ((low ^ byte) >>> 0) * 0x1b3; // below 2^41: exact
    const shifted = (low ^ byte) << 8;
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 0x100000000) + shifted) >>> 0;
    low = product >>> 0;
  }
  return { high, low };
}

/** The hash as 16 hexadecimal digits, e.g. for a lexicon that should not show its terms. */
export function termHashHex(term: string): string {
  const { high, low } = termHash(term);
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

/** A set of hashed terms that returns the position of a term in the list it was built from. */
export class HashedVocabulary {
  private readonly slots: Int32Array;
  private readonly high: Uint32Array;
  private readonly low: Uint32Array;
  private readonly mask: number;

  /** @param hashes little-endian pairs (low, high): the memory layout of a U64 tensor. */
  constructor(hashes: Uint32Array) {
    const count = hashes.length >>> 1;
    let size = 16;
    while (size < count * 2) size *= 2;
    this.mask = size - 1;
    this.slots = new Int32Array(size).fill(-1);
    this.high = new Uint32Array(count);
    this.low = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const low = hashes[2 * i] ?? 0;
      const high = hashes[2 * i + 1] ?? 0;
      this.low[i] = low;
      this.high[i] = high;
      let slot = low & this.mask;
      while (this.slots[slot] !== -1) slot = (slot + 1) & this.mask;
      this.slots[slot] = i;
    }
  }

  get size(): number {
    return this.high.length;
  }

  /** Position of `term` in the list, or -1. */
  indexOf(term: string): number {
    const { high, low } = termHash(term);
    let slot = low & this.mask;
    for (;;) {
      const index = this.slots[slot] ?? -1;
      if (index === -1) return -1;
      if (this.low[index] === low && this.high[index] === high) return index;
      slot = (slot + 1) & this.mask;
    }
  }
}
