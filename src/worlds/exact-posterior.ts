/** log sum exp of the values, without overflow. */
export function logSumExp(values: ArrayLike<number>): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, values[i] as number);
  if (largest === Number.NEGATIVE_INFINITY) return largest;
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.exp((values[i] as number) - largest);
  return largest + Math.log(sum);
}

/** The distribution that a perfect sampler draws from, over an enumerated set. */
export interface ExactPosterior {
  /** R(x) / Z of each sequence; sums to 1. */
  readonly probabilities: Float64Array;
  /** log of the sum of all R(x), nats. */
  readonly logZ: number;
}

/** Normalises rewards, given as logs, of every sequence that there is. */
export function exactPosterior(logRewards: ArrayLike<number>): ExactPosterior {
  const logZ = logSumExp(logRewards);
  return { logZ, probabilities: Float64Array.from(logRewards, (logReward) => Math.exp(logReward - logZ)) };
}

/** Half the sum of |p_i - q_i|, in [0, 1]; both over the same sequences in the same order. */
export function totalVariation(p: ArrayLike<number>, q: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.abs((p[i] as number) - (q[i] as number));
  return sum / 2;
}
