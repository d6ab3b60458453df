/** One number per token, row by row. */
type TokenNumbers = readonly ArrayLike<number>[];

export interface Advantages {
  readonly advantages: Float64Array[];
  /** The critic's targets: advantage + value. */
  readonly returns: Float64Array[];
}

/**
 * Generalised advantage estimation (Schulman et al. 2016, eq. 16) for each token of each row; a row's last token ends
 * it: A_t = sum_k (discount lambda)^k delta_{t+k}, delta_t = r_t + discount V_{t+1} - V_t, V after the last token 0.
 */
export function generalisedAdvantages(
  rewards: TokenNumbers,
  values: TokenNumbers,
  { discount, lambda }: { readonly discount: number; readonly lambda: number },
): Advantages {
  const advantages = rewards.map((row, b) => {
    const value = values[b] as ArrayLike<number>;
    const result = new Float64Array(row.length);
    let following = 0;
    for (let t = row.length - 1; t >= 0; t--) {
      const next = t + 1 < row.length ? (value[t + 1] as number) : 0;
      const delta = (row[t] as number) + discount * next - (value[t] as number);
      following = delta + discount * lambda * following;
      result[t] = following;
    }
    return result;
  });
  const returns = advantages.map((row, b) => row.map((advantage, t) => advantage + (values[b]?.[t] as number)));
  return { advantages, returns };
}

/** Keeps the scale finite when all advantages are the same. */
const VARIANCE_FLOOR = 1e-8;

/** All tokens' values shifted to mean 0 and scaled to (population) variance 1, as in trlX. */
export function whiten(rows: readonly Float64Array[]): Float64Array[] {
  const flat = rows.flatMap((row) => [...row]);
  const { mean, variance } = moments(flat);
  const scale = 1 / Math.sqrt(variance + VARIANCE_FLOOR);
  return rows.map((row) => row.map((value) => (value - mean) * scale));
}

/** Each reward minus the mean of the *other* rows' (Kool et al. 2019): a baseline that leaves the gradient unbiased. */
export function leaveOneOut(rewards: readonly number[]): number[] {
  const n = rewards.length;
  if (n < 2) return rewards.map(() => 0);
  const sum = rewards.reduce((total, reward) => total + reward, 0);
  return rewards.map((reward) => reward - (sum - reward) / (n - 1));
}

/** Advantages divided by the batch's standard deviation of the rewards; zeros when every reward is the same. */
export function divideBySpread(advantages: readonly number[], rewards: readonly number[]): number[] {
  const spread = Math.sqrt(moments(rewards).variance);
  return advantages.map((advantage) => (spread === 0 ? 0 : advantage / spread));
}

function moments(values: readonly number[]): { readonly mean: number; readonly variance: number } {
  const n = Math.max(1, values.length);
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n };
}
