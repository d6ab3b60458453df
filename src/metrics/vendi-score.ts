import { dotAt } from '../base/flat-vectors.ts';
import { attackMetric, measureOverRows, successEmbeddings } from './attack-set.ts';
import { columnGram, type EmbeddingMatrix } from './embedding-matrix.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { finishSteps, type Steps } from './steps.ts';
import { symmetricEigenvaluesInSteps } from './symmetric-eigenvalues.ts';

/**
 * Vendi score (Friedman and Dieng 2023): the effective number of different attacks, 1..n; null for none. It is exp of the
 * entropy of the eigenvalues of K / n, K the cosine matrix. The smaller of X X^T [n, n] and X^T X [D, D] is used: their
 * eigenvalues differ only by zeros, which add nothing. So the cost is O(n D^2 + D^3) at most, linear in n.
 */
export function vendiScore(embeddings: EmbeddingMatrix): Measure {
  return finishSteps(vendiScoreInSteps(embeddings));
}

function* vendiScoreInSteps(embeddings: EmbeddingMatrix): Steps<Measure> {
  const { rows, width } = embeddings;
  const method = 'vendi, cosine kernel';
  if (rows === 0) return pointMeasure(null, 0, method);
  const eigenvalues =
    rows > width
      ? yield* symmetricEigenvaluesInSteps(yield* columnGram(embeddings), width)
      : yield* symmetricEigenvaluesInSteps(yield* rowGram(embeddings), rows);
  const positive = eigenvalues.filter((value) => value > 0);
  // Rows have length 1 only up to fp32 rounding, and so does the trace; shares must sum to 1.
  const trace = positive.reduce((sum, value) => sum + value, 0);
  const entropy = positive.reduce((sum, value) => sum - (value / trace) * Math.log(value / trace), 0);
  return pointMeasure(Math.exp(entropy), rows, method);
}

/** Subsamples behind its interval, whose width they give to about 16%: each costs an eigenvalue problem. */
const DRAWS = 20;

export const vendi = attackMetric({
  name: 'vendi',
  isOfAttacks: true,
  words: { label: 'Effective number of attacks', explain: 'Vendi score over all attacks.' },
  steps: (set, options) => measureOverRows('vendi', set, { draws: DRAWS, ...options }, vendiScoreInSteps),
});

export const vendiOfSuccesses = attackMetric({
  name: 'vendiOfSuccesses',
  words: { label: 'Effective number of successes', explain: 'Vendi score over successful attacks.' },
  steps: (set) => vendiScoreInSteps(successEmbeddings(set)),
});

/** Lower triangle of X X^T [n, n]. */
function* rowGram({ data, rows, width }: EmbeddingMatrix): Steps<Float64Array> {
  const gram = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) {
    yield;
    for (let j = 0; j <= i; j++) gram[i * rows + j] = dotAt(data, i * width, data, j * width, width);
  }
  return gram;
}
