import { randomStream } from '../base/random.ts';
import type { Posterior, WeighedRequest } from './posterior.ts';

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
