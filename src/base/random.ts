/**
 * Seeded randomness with named streams. A stream is a pure function of the seed and its name
 * (`randomStream(seed, 'rollout', update, row)`), so resuming needs counters only, never generator state,
 * and a row's draws do not depend on which batch it rides in.
 */

/** 32-bit FNV-1a folded with an avalanche step; enough to tell stream names apart. */
function hashName(parts: readonly (string | number)[]): [number, number] {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  for (const part of parts) {
    const text = typeof part === 'number' ? `#${part}` : `$${part}`;
    for (let i = 0; i < text.length; i++) {
      a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
      b = Math.imul(b ^ (text.charCodeAt(i) + i), 0x85ebca6b);
      b ^= b >>> 13;
    }
    a = Math.imul(a ^ 0x1f, 0x01000193);
    b = Math.imul(b ^ (a >>> 7), 0xc2b2ae35);
  }
  return [a >>> 0, b >>> 0];
}

/** xoshiro128** (Blackman and Vigna), seeded by splitmix32. Floats carry 53 bits. */
export class RandomStream {
  private s0: number;
  private s1: number;
  private s2: number;
  private s3: number;

  constructor(seedA: number, seedB: number) {
    let state = seedA >>> 0;
    const next = (): number => {
      state = (state + 0x9e3779b9) >>> 0;
      let z = state ^ (state >>> 16);
      z = Math.imul(z, 0x21f0aaad);
      z ^= z >>> 15;
      z = Math.imul(z, 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.s0 = next();
    this.s1 = next();
    state = (state ^ seedB) >>> 0;
    this.s2 = next();
    this.s3 = next() | 1; // never all zero
  }

  /** A uniform 32-bit unsigned integer. */
  nextUint32(): number {
    const product = Math.imul(this.s1, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const t = this.s1 << 9;
    this.s2 ^= this.s0;
    this.s3 ^= this.s1;
    this.s1 ^= this.s2;
    this.s0 ^= this.s3;
    this.s2 ^= t;
    this.s3 = (this.s3 << 11) | (this.s3 >>> 21);
    return result;
  }

  /** A uniform float in [0, 1). */
  nextFloat(): number {
    return ((this.nextUint32() >>> 5) * 67108864 + (this.nextUint32() >>> 6)) / 9007199254740992;
  }

  /** A uniform float in (0, 1): safe to take the logarithm of. */
  nextOpenFloat(): number {
    return this.nextFloat() + 2 ** -54;
  }

  /** A uniform integer in [0, bound). */
  nextInt(bound: number): number {
    return Math.floor(this.nextFloat() * bound);
  }

  /** A standard normal draw (Box–Muller, one of the pair). */
  nextNormal(): number {
    return Math.sqrt(-2 * Math.log(this.nextOpenFloat())) * Math.cos(2 * Math.PI * this.nextFloat());
  }

  /** A standard Gumbel draw: `argmax(logits + gumbel)` samples the softmax. */
  nextGumbel(): number {
    return -Math.log(-Math.log(this.nextOpenFloat()));
  }

  /** A draw from Gamma(shape, 1) (Marsaglia and Tsang 2000). @param shape at least 1. */
  nextGamma(shape: number): number {
    const d = shape - 1 / 3;
    const c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const normal = this.nextNormal();
      const v = (1 + c * normal) ** 3;
      if (v > 0 && Math.log(this.nextOpenFloat()) < 0.5 * normal ** 2 + d - d * v + d * Math.log(v)) return d * v;
    }
  }

  /** A draw from Beta(a, b). @param a at least 1. @param b at least 1. */
  nextBeta(a: number, b: number): number {
    const successes = this.nextGamma(a);
    return successes / (successes + this.nextGamma(b));
  }

  /** A shuffled copy (Fisher–Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const copy = [...items];
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.nextInt(i + 1);
      [copy[i], copy[j]] = [copy[j] as T, copy[i] as T];
    }
    return copy;
  }
}

/** The stream of `seed` with this name. Same arguments, same draws, on every machine. */
export function randomStream(seed: number, ...name: (string | number)[]): RandomStream {
  const [a, b] = hashName([seed, ...name]);
  return new RandomStream(a, b);
}

/**
 * Up to `count` distinct indices drawn without replacement with p = softmax(logWeights), in drawing order.
 * Gumbel top-k: the k largest of `logWeight + Gumbel` are a sample of successive draws without replacement, all in
 * log space, so that weights of e^-1000 neither underflow nor fail. Fewer weights than `count`: all of them.
 */
export function gumbelTopK(logWeights: readonly number[], count: number, stream: RandomStream): number[] {
  return logWeights
    .map((logWeight, index) => ({ index, key: logWeight + stream.nextGumbel() }))
    .sort((a, b) => b.key - a.key || a.index - b.index)
    .slice(0, count)
    .map(({ index }) => index);
}
