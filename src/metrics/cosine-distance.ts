import { attackMetric, measureOverRows, successEmbeddings } from './attack-set.ts';
import type { EmbeddingMatrix } from './embedding-matrix.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { finishSteps, type Steps } from './steps.ts';

/**
 * Mean of 1 - cosine over all pairs of different rows, in [0, 2]; null below two rows. O(n D), because the cosines of
 * all ordered pairs sum to |sum of rows|^2 - sum of |row|^2.
 */
export function meanCosineDistance(matrix: EmbeddingMatrix): Measure {
  return finishSteps(meanCosineDistanceInSteps(matrix));
}

/** Rows between two pauses. */
const STEP_ROWS = 1024;

function* meanCosineDistanceInSteps({ data, rows, width }: EmbeddingMatrix): Steps<Measure> {
  const method = 'mean pairwise 1 - cosine';
  if (rows < 2) return pointMeasure(null, rows, method);
  const sum = new Float64Array(width);
  let ownSquares = 0;
  for (let i = 0; i < data.length; i++) {
    if (i % (STEP_ROWS * width) === 0) yield;
    const x = data[i] as number;
    sum[i % width] = (sum[i % width] as number) + x;
    ownSquares += x * x;
  }
  const sumSquare = sum.reduce((total, x) => total + x * x, 0);
  return pointMeasure(1 - (sumSquare - ownSquares) / (rows * (rows - 1)), rows, method);
}

export const cosineDistance = attackMetric({
  name: 'cosineDistance',
  isOfAttacks: true,
  words: {
    label: 'Distance between attacks',
    explain: 'Mean distance in meaning between two attacks: 0 all the same, about 1 unrelated.',
  },
  steps: (set, options) => measureOverRows('cosineDistance', set, options, meanCosineDistanceInSteps),
});

export const cosineDistanceOfSuccesses = attackMetric({
  name: 'cosineDistanceOfSuccesses',
  words: { label: 'Distance between successes', explain: 'The same among successful attacks only.' },
  steps: (set) => meanCosineDistanceInSteps(successEmbeddings(set)),
});
