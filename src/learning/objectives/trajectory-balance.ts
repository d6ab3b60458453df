import {
  mean,
  type ObjectiveKind,
  type OnePassObjective,
  residuals,
  type StepWeights,
  zeroWeights,
} from './objective.ts';

function rowWeights(batchRows: number, rows: number): StepWeights {
  const weights = zeroWeights(batchRows);
  weights.rowWeight.fill(2 / rows); // 2/n (logZ + delta_i)
  return weights;
}

/** Trajectory balance with a learned log Z (Malkin et al. 2022; Lee et al. 2025, eq. 3). */
export function trajectoryBalance(): OnePassObjective {
  return {
    name: 'tb',
    usesLogZ: true,
    loss: (logProbs, logRewards, logZ) => mean(residuals(logProbs, logRewards).map((d) => (logZ + d) ** 2)),
    batchWeights: ({ length }) => rowWeights(length, length),
    gradient: (logProbs, logRewards, logZ) => {
      const delta = residuals(logProbs, logRewards);
      return delta.map((d) => (2 / delta.length) * (logZ + d));
    },
    microBatchWeights: rowWeights,
  };
}

export const tbKind: ObjectiveKind = {
  name: 'tb',
  describe: 'trajectory balance (the paper)',
  leastRows: 1,
  usesLogZ: true,
  create: trajectoryBalance,
};
