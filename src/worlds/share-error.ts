import { randomStream } from '../base/random.ts';
import { totalVariation } from './exact-posterior.ts';
import type { KeyFinder } from './keys.ts';
import type { Posterior } from './posterior.ts';

/** Shares of the keys among texts, a text with m keys counting 1/m for each; the last entry is for texts without a key. */
export function foundShares(texts: readonly (readonly string[])[], keys: number, finder: KeyFinder): number[] {
  const shares = new Array<number>(keys + 1).fill(0);
  for (const words of texts) {
    const held = finder.heldBy(words);
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
