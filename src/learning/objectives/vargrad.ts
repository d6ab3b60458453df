import { mean, type ObjectiveKind, type OnePassObjective, residuals, zeroWeights } from './objective.ts';

/** Log-variance: the batch estimates log Z, and no gradient flows through the estimate (Richter et al. 2020; TBA). */
export function varGrad(): OnePassObjective {
  return {
    name: 'vargrad',
    usesLogZ: false,
    loss: (logProbs, logRewards) => {
      const delta = residuals(logProbs, logRewards);
      const centre = mean(delta);
      return mean(delta.map((d) => (d - centre) ** 2)); // mean (delta - mean delta)^2
    },
    batchWeights: ({ length: n }) => {
      const weights = zeroWeights(n);
      weights.pairWeight.fill(2 / (n * n)); // 2/n (delta_i - mean delta) = sum_j 2/n^2 (delta_i - delta_j)
      return weights;
    },
    gradient: (logProbs, logRewards) => {
      const delta = residuals(logProbs, logRewards);
      const centre = mean(delta);
      return delta.map((d) => (2 / delta.length) * (d - centre));
    },
  };
}

export const vargradKind: ObjectiveKind = {
  name: 'vargrad',
  describe: 'log Z from the batch',
  leastRows: 2,
  usesLogZ: false,
  create: varGrad,
};
