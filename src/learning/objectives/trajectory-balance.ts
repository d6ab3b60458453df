import type { z } from 'zod';
import {
  boundedResiduals,
  huberLoss,
  huberSlope,
  mean,
  type ObjectiveKind,
  type OnePassObjective,
  residuals,
  type StepWeights,
  zeroWeights,
} from './objective.ts';

const settings = boundedResiduals.describe('settings of objective tb');

type Settings = z.output<typeof settings>;

function rowWeights(batchRows: number, rows: number): StepWeights {
  const weights = zeroWeights(batchRows);
  weights.rowWeight.fill(2 / rows); // 2/n slope(logZ + delta_i)
  return weights;
}

/** Trajectory balance with a learned log Z (Malkin et al. 2022; Lee et al. 2025, eq. 3), squared or Huber. */
export function trajectoryBalance({ huber }: Partial<Settings> = {}): OnePassObjective {
  return {
    name: 'tb',
    usesLogZ: true,
    ...(huber === undefined ? {} : { rowClip: huber }),
    loss: (logProbs, logRewards, logZ) => {
      const square = (x: number): number => (huber === undefined ? x ** 2 : 2 * huberLoss(x, huber));
      return mean(residuals(logProbs, logRewards).map((d) => square(logZ + d)));
    },
    batchWeights: ({ length }) => rowWeights(length, length),
    gradient: (logProbs, logRewards, logZ) => {
      const delta = residuals(logProbs, logRewards);
      return delta.map((d) => (2 / delta.length) * huberSlope(logZ + d, huber));
    },
    microBatchWeights: rowWeights,
  };
}

export const tbKind: ObjectiveKind<Settings> = {
  name: 'tb',
  describe: 'trajectory balance (the paper)',
  settings,
  leastRows: 1,
  usesLogZ: true,
  create: trajectoryBalance,
};
