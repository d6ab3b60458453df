/**
 * GFlowNet objectives over one update's residuals delta_i = log pi(x_i | c) - logR(x_i), all rows of one meta-prompt c.
 *
 * | symbol | meaning |
 * |---|---|
 * | n | rows of the whole update (every micro-batch of it) |
 * | delta_i | residual of row i |
 * | M | unmasked pairs |
 */
export type Objective =
  /** Trajectory balance with a learned log Z (Malkin et al. 2022; Lee et al. 2025, eq. 3). */
  | { readonly kind: 'tb' }
  /** Log-variance: log Z estimated by the batch, no gradient through it (Richter et al. 2020; TBA). */
  | { readonly kind: 'vargrad' }
  /** Contrastive balance with noisy-gradient pruning (Stable-GFN): pairs with |logR_i - logR_j| < sigma are left out. */
  | { readonly kind: 'ctb'; readonly sigma: number /** Delta of the Huber loss. */; readonly huber: number };

/** Weights by which the policy graph forms dL/d(log pi): see `models/decoder/policy-graph.ts`. */
export interface StepWeights {
  /** [B, B] row-major */
  readonly pairWeight: Float32Array;
  /** [B] */
  readonly rowWeight: Float32Array;
  /** [B] */
  readonly directWeight: Float32Array;
}

/** The learned log Z counts only in trajectory balance. */
export function usesLogZ(objective: Objective): boolean {
  return objective.kind === 'tb';
}

function isPaired(
  objective: Extract<Objective, { kind: 'ctb' }>,
  logRewards: ArrayLike<number>,
  i: number,
  j: number,
): boolean {
  return i !== j && Math.abs((logRewards[i] as number) - (logRewards[j] as number)) >= objective.sigma;
}

/** M: unordered pairs that contrastive balance keeps. */
export function countPairs(objective: Extract<Objective, { kind: 'ctb' }>, logRewards: ArrayLike<number>): number {
  let pairs = 0;
  for (let i = 0; i < logRewards.length; i++) {
    for (let j = i + 1; j < logRewards.length; j++) if (isPaired(objective, logRewards, i, j)) pairs++;
  }
  return pairs;
}

function huberLoss(x: number, delta: number): number {
  const size = Math.abs(x);
  return size <= delta ? 0.5 * x * x : delta * (size - 0.5 * delta);
}

function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] as number;
  return values.length === 0 ? 0 : sum / values.length;
}

/** delta_i for each row. */
export function residuals(logProbs: ArrayLike<number>, logRewards: ArrayLike<number>): Float64Array {
  return Float64Array.from(logProbs, (logProb, i) => logProb - (logRewards[i] as number));
}

/** The loss of one update, a number to report; `logZ` counts for trajectory balance only. */
export function objectiveLoss(
  objective: Objective,
  logProbs: ArrayLike<number>,
  logRewards: ArrayLike<number>,
  logZ: number,
): number {
  const delta = residuals(logProbs, logRewards);
  switch (objective.kind) {
    case 'tb':
      return mean(delta.map((d) => (logZ + d) ** 2)); // mean (logZ + delta)^2
    case 'vargrad': {
      const centre = mean(delta);
      return mean(delta.map((d) => (d - centre) ** 2)); // mean (delta - mean delta)^2
    }
    case 'ctb': {
      let sum = 0;
      for (let i = 0; i < delta.length; i++) {
        for (let j = i + 1; j < delta.length; j++) {
          if (isPaired(objective, logRewards, i, j))
            sum += huberLoss((delta[i] as number) - (delta[j] as number), objective.huber);
        }
      }
      return sum / Math.max(1, countPairs(objective, logRewards)); // mean huber(delta_i - delta_j)
    }
  }
}

/** Graph weights when the whole update is one batch of rows: the graph forms the residuals itself, in one pass. */
export function singleBatchWeights(objective: Objective, logRewards: ArrayLike<number>): StepWeights {
  const n = logRewards.length;
  const weights: StepWeights = {
    pairWeight: new Float32Array(n * n),
    rowWeight: new Float32Array(n),
    directWeight: new Float32Array(n),
  };
  switch (objective.kind) {
    case 'tb':
      weights.rowWeight.fill(2 / n); // 2/n (logZ + delta_i)
      break;
    case 'vargrad':
      weights.pairWeight.fill(2 / (n * n)); // 2/n (delta_i - mean delta) = sum_j 2/n^2 (delta_i - delta_j)
      break;
    case 'ctb': {
      const pairs = Math.max(1, countPairs(objective, logRewards));
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++)
          if (isPaired(objective, logRewards, i, j)) weights.pairWeight[i * n + j] = 1 / pairs;
      }
    }
  }
  return weights;
}

/**
 * dL/d(delta_i) of the whole update, for accumulation over micro-batches: the group of VarGrad and CTB is the update,
 * so residuals come first and enter the backward passes as direct weights.
 */
export function residualGradient(
  objective: Objective,
  logProbs: ArrayLike<number>,
  logRewards: ArrayLike<number>,
  logZ: number,
): Float64Array {
  const delta = residuals(logProbs, logRewards);
  const n = delta.length;
  switch (objective.kind) {
    case 'tb':
      return delta.map((d) => (2 / n) * (logZ + d));
    case 'vargrad': {
      const centre = mean(delta);
      return delta.map((d) => (2 / n) * (d - centre));
    }
    case 'ctb': {
      const pairs = Math.max(1, countPairs(objective, logRewards));
      return delta.map((d, i) => {
        let slope = 0;
        for (let j = 0; j < n; j++) {
          if (isPaired(objective, logRewards, i, j))
            slope += Math.min(objective.huber, Math.max(-objective.huber, d - (delta[j] as number)));
        }
        return slope / pairs;
      });
    }
  }
}

/** Graph weights of one micro-batch whose rows' gradients are already known. */
export function directWeights(gradient: ArrayLike<number>): StepWeights {
  const n = gradient.length;
  return {
    pairWeight: new Float32Array(n * n),
    rowWeight: new Float32Array(n),
    directWeight: Float32Array.from(gradient),
  };
}
