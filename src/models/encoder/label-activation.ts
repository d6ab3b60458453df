import type { EncoderConfig } from '../checkpoint/encoder-config.ts';

/** How logits become probabilities: independent labels, or exclusive ones. */
export type LabelActivation = 'sigmoid' | 'softmax';

export function activationOf(problem: EncoderConfig['problem']): LabelActivation {
  return problem === 'multi-label' ? 'sigmoid' : 'softmax';
}

/** Probabilities of each row of `logits` [n, labels], row by row. */
export function labelProbabilities(logits: Float32Array, labels: number, activation: LabelActivation): Float32Array[] {
  return Array.from({ length: logits.length / labels }, (_, row) => {
    const values = logits.subarray(row * labels, (row + 1) * labels);
    return activation === 'sigmoid' ? values.map((x) => 1 / (1 + Math.exp(-x))) : softmax(values);
  });
}

function softmax(values: Float32Array): Float32Array {
  const largest = Math.max(...values);
  const powers = Array.from(values, (x) => Math.exp(x - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return Float32Array.from(powers, (power) => power / total);
}
