import type { z } from 'zod';
import {
  boundedResiduals,
  huberLoss,
  huberSlope,
  mean,
  type ObjectiveKind,
  type OnePassObjective,
  residuals,
  zeroWeights,
} from './objective.ts';

const settings = boundedResiduals.describe('settings of objective vargrad');

type Settings = z.output<typeof settings>;

/**
 * Log-variance: the batch estimates log Z, and no gradient flows through the estimate (Richter et al. 2020; TBA). The
 * variance is half the mean square of the differences between rows; with `huber`, differences beyond it count linearly.
 */
export function varGrad({ huber }: Partial<Settings> = {}): OnePassObjective {
  return {
    name: 'vargrad',
    usesLogZ: false,
    ...(huber === undefined ? BATCH_MEAN : pairwise(huber)),
    batchWeights: ({ length: n }) => {
      const weights = zeroWeights(n);
      weights.pairWeight.fill(2 / (n * n)); // 2/n (delta_i - mean delta) = sum_j 2/n^2 (delta_i - delta_j)
      return weights;
    },
  };
}

const BATCH_MEAN: Pick<OnePassObjective, 'loss' | 'gradient'> = {
  loss: (logProbs, logRewards) => {
    const delta = residuals(logProbs, logRewards);
    const centre = mean(delta);
    return mean(delta.map((d) => (d - centre) ** 2)); // mean (delta - mean delta)^2
  },
  gradient: (logProbs, logRewards) => {
    const delta = residuals(logProbs, logRewards);
    const centre = mean(delta);
    return delta.map((d) => (2 / delta.length) * (d - centre));
  },
};

function pairwise(huber: number): Pick<OnePassObjective, 'loss' | 'gradient' | 'pairClip'> {
  return {
    pairClip: huber,
    loss: (logProbs, logRewards) => {
      const delta = residuals(logProbs, logRewards);
      return mean(delta.map((d) => mean(delta.map((e) => huberLoss(d - e, huber))))); // 1/n^2 sum_ij huber
    },
    gradient: (logProbs, logRewards) => {
      const delta = residuals(logProbs, logRewards);
      return delta.map((d) => (2 / delta.length) * mean(delta.map((e) => huberSlope(d - e, huber))));
    },
  };
}

export const vargradKind: ObjectiveKind<Settings> = {
  name: 'vargrad',
  describe: 'log Z from the batch',
  settings,
  leastRows: 2,
  usesLogZ: false,
  create: varGrad,
};
