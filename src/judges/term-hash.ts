const utf8 = new TextEncoder();

/** A 64-bit hash as two unsigned 32-bit halves. */
export interface TermHash {
  readonly high: number;
  readonly low: number;
}

/**
 * The 64-bit FNV-1a hash of the term's UTF-8 bytes, the one that `scripts/models/judge_asset.py` stores.
 * In halves because BigInt allocates at every step: prime = 2^40 + 0x1b3, so
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

/** The hash as 16 hexadecimal digits, e.g. for a lexicon whose terms should not stand in clear text. */
export function termHashHex(term: string): string {
  const { high, low } = termHash(term);
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

/** A set of hashed terms that answers with each term's position in the list it was built from. */
export class HashedVocabulary {
  private readonly slots: Int32Array;
  private readonly high: Uint32Array;
  private readonly low: Uint32Array;
  private readonly mask: number;

  /** @param hashes little-endian pairs (low, high), as a U64 tensor lies in memory. */
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
