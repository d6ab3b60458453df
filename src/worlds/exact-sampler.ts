import { randomStream } from '../base/random.ts';
import type { KeyFinder } from './keys.ts';
import type { Posterior, WeighedRequest } from './posterior.ts';

/** log sum exp of the values, without overflow. */
export function logSumExp(values: ArrayLike<number>): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, values[i] as number);
  if (largest === Number.NEGATIVE_INFINITY) return largest;
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.exp((values[i] as number) - largest);
  return largest + Math.log(sum);
}

/** The distribution that a perfect sampler draws from, over an enumerated set. */
export interface ExactPosterior {
  /** R(x) / Z of each sequence; sums to 1. */
  readonly probabilities: Float64Array;
  /** log of the sum of all R(x), nats. */
  readonly logZ: number;
}

/** Normalises the log rewards of all sequences. */
export function exactPosterior(logRewards: ArrayLike<number>): ExactPosterior {
  const logZ = logSumExp(logRewards);
  return { logZ, probabilities: Float64Array.from(logRewards, (logReward) => Math.exp(logReward - logZ)) };
}

/** Half the sum of |p_i - q_i|, in [0, 1]; both over the same sequences in the same order. */
export function totalVariation(p: ArrayLike<number>, q: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.abs((p[i] as number) - (q[i] as number));
  return sum / 2;
}

/** Shares of the keys among texts, a text with m keys counting 1/m for each; the last entry is for texts without a key. */
export function foundShares(texts: readonly (readonly string[])[], keys: number, finder: KeyFinder): number[] {
  return heldShares(
    texts.map((words) => finder.heldBy(words)),
    keys,
  );
}

/** The same where the keys of each text are known. */
export function heldShares(texts: readonly (readonly number[])[], keys: number): number[] {
  const shares = new Array<number>(keys + 1).fill(0);
  for (const held of texts) {
    if (held.length === 0) shares[keys] = (shares[keys] as number) + 1 / texts.length;
    for (const key of held) shares[key] = (shares[key] as number) + 1 / held.length / texts.length;
  }
  return shares;
}

/** Shares under the posterior in the same order. */
export function exactShares({ keys, keyless }: Pick<Posterior, 'keys' | 'keyless'>): number[] {
  return [...keys, keyless].map(({ share }) => share);
}

const DRAWS = 200;

/** Total variation that `n` draws of the exact distribution itself show on average: the floor of a share error. */
export function shareErrorFloor(exact: readonly number[], n: number, seed: number): number {
  let sum = 0;
  for (let draw = 0; draw < DRAWS; draw++) {
    const stream = randomStream(seed, 'share error floor', draw);
    const counts = new Array<number>(exact.length).fill(0);
    for (let i = 0; i < n; i++) {
      let left = stream.nextFloat();
      let category = 0;
      while (category < exact.length - 1 && left >= (exact[category] as number)) left -= exact[category++] as number;
      counts[category] = (counts[category] as number) + 1 / n;
    }
    sum += totalVariation(counts, exact);
  }
  return sum / DRAWS;
}

/** Expected share of the keys that n draws from the posterior find: mean over keys of 1 - (1 - share x success)^n. */
export function expectedRecall({ keys }: Pick<Posterior, 'keys'>, n: number): number {
  const found = keys.map(({ share, success }) => 1 - (1 - share * success) ** n);
  return found.reduce((sum, value) => sum + value, 0) / Math.max(1, keys.length);
}

/** Expected success rate of the posterior itself. */
export function expectedSuccess({ keys, keyless }: Pick<Posterior, 'keys' | 'keyless'>): number {
  return [...keys, keyless].reduce((sum, { share, success }) => sum + share * success, 0);
}

/** Draws `count` requests from the pool in proportion to their mass, with replacement. */
export function drawFromPool(pool: readonly WeighedRequest[], count: number, seed: number): WeighedRequest[] {
  const cumulated: number[] = [];
  let total = 0;
  for (const { mass } of pool) {
    total += mass;
    cumulated.push(total);
  }
  return Array.from({ length: count }, (_, i) => {
    const target = randomStream(seed, 'exact sample', i).nextFloat() * total;
    let [low, high] = [0, cumulated.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((cumulated[middle] as number) > target) high = middle;
      else low = middle + 1;
    }
    return pool[low] as WeighedRequest;
  });
}
