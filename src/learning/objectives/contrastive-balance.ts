import { z } from 'zod';
import { nonNegative, positive, share } from '../../base/config-fields.ts';
import {
  huberLoss,
  huberSlope,
  type ObjectiveKind,
  type OnePassObjective,
  residuals,
  zeroWeights,
} from './objective.ts';

const settings = z
  .strictObject({
    sigma: nonNegative.default(0.1).describe('pairs with |log R_i - log R_j| below it are masked'),
    huber: positive.default(1).describe('delta of the Huber loss'),
    onPolicyShare: share
      .default(2 / 3)
      .describe('share of each batch that the attacker writes, in place of sampling.freshShare'),
  })
  .prefault({})
  .describe('settings of objective ctb');

type Settings = z.output<typeof settings>;

/** The pairs i < j that noisy-gradient pruning keeps: |logR_i - logR_j| >= sigma. */
function isPaired(sigma: number, logRewards: ArrayLike<number>, i: number, j: number): boolean {
  return i !== j && Math.abs((logRewards[i] as number) - (logRewards[j] as number)) >= sigma;
}

/** M: unordered pairs that contrastive balance keeps. */
export function countPairs(sigma: number, logRewards: ArrayLike<number>): number {
  let pairs = 0;
  for (let i = 0; i < logRewards.length; i++) {
    for (let j = i + 1; j < logRewards.length; j++) if (isPaired(sigma, logRewards, i, j)) pairs++;
  }
  return pairs;
}

/** Contrastive balance with noisy-gradient pruning (Stable-GFN): leaves out pairs of nearly equal reward. */
export function contrastiveBalance({ sigma, huber }: Pick<Settings, 'sigma' | 'huber'>): OnePassObjective {
  const pairsOf = (logRewards: ArrayLike<number>): number => Math.max(1, countPairs(sigma, logRewards));
  return {
    name: 'ctb',
    usesLogZ: false,
    pairClip: huber,
    loss: (logProbs, logRewards) => {
      const delta = residuals(logProbs, logRewards);
      let sum = 0;
      for (let i = 0; i < delta.length; i++) {
        for (let j = i + 1; j < delta.length; j++) {
          if (isPaired(sigma, logRewards, i, j)) sum += huberLoss((delta[i] as number) - (delta[j] as number), huber);
        }
      }
      return sum / pairsOf(logRewards); // mean huber(delta_i - delta_j)
    },
    batchWeights: (logRewards) => {
      const n = logRewards.length;
      const weights = zeroWeights(n);
      const pairs = pairsOf(logRewards);
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) if (isPaired(sigma, logRewards, i, j)) weights.pairWeight[i * n + j] = 1 / pairs;
      }
      return weights;
    },
    gradient: (logProbs, logRewards) => {
      const delta = residuals(logProbs, logRewards);
      const pairs = pairsOf(logRewards);
      return delta.map((d, i) => {
        let slope = 0;
        for (let j = 0; j < delta.length; j++) {
          if (isPaired(sigma, logRewards, i, j)) slope += huberSlope(d - (delta[j] as number), huber);
        }
        return slope / pairs;
      });
    },
  };
}

export const ctbKind: ObjectiveKind<Settings> = {
  name: 'ctb',
  describe: 'pairwise, noise-gated',
  settings,
  leastRows: 2,
  usesLogZ: false,
  create: contrastiveBalance,
  freshShare: ({ onPolicyShare }) => onPolicyShare,
};
