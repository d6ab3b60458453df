/**
 * GFlowNet objectives over the residuals of one update, delta_i = log pi(x_i | c) - log R(x_i). All rows continue one
 * meta-prompt c.
 *
 * | symbol | meaning |
 * |---|---|
 * | n | rows of the whole update (every micro-batch of it) |
 * | delta_i | residual of row i |
 * | M | unmasked pairs |
 */
import { z } from 'zod';

/** Weights by which the policy graph forms dL/d(log pi): see `models/decoder/policy-graph.ts`. */
export interface StepWeights {
  /** [B, B] row-major */
  readonly pairWeight: Float32Array;
  /** [B] */
  readonly rowWeight: Float32Array;
  /** [B] */
  readonly directWeight: Float32Array;
}

/** The bounds at which the policy's graph clips slopes. */
export function slopeClips({ pairClip, rowClip }: Pick<Objective, 'pairClip' | 'rowClip'>): {
  readonly pairClip?: number;
  readonly rowClip?: number;
} {
  return { ...(pairClip === undefined ? {} : { pairClip }), ...(rowClip === undefined ? {} : { rowClip }) };
}

/** An objective with its settings. Every method takes log pi and log R of the same n rows. */
export interface Objective {
  readonly name: string;
  /** The policy learns log Z in a head of its own. */
  readonly usesLogZ: boolean;
  /** Pair differences are clipped to this inside the graph (the delta of a Huber loss); unclipped when absent. */
  readonly pairClip?: number;
  /** The same for single rows, delta_i + log Z. */
  readonly rowClip?: number;
  /** The loss of one update, a number to report. `logZ` counts only with `usesLogZ`. */
  loss(logProbs: ArrayLike<number>, logRewards: ArrayLike<number>, logZ: number): number;
  /**
   * Graph weights when the whole update is one batch of rows: the graph forms the residuals in one pass. When absent, a
   * forward pass comes first, and `gradient` enters as direct weights. An objective with log Z has this and
   * `microBatchWeights`.
   */
  batchWeights?(logRewards: ArrayLike<number>): StepWeights;
  /** dL/d(delta_i) of the whole update. */
  gradient(logProbs: ArrayLike<number>, logRewards: ArrayLike<number>, logZ: number): Float64Array;
  /**
   * Graph weights of one micro-batch of an update of `rows` rows, where rows are independent given log Z. When absent,
   * the group is the whole update: its `gradient` comes first and enters as direct weights.
   */
  microBatchWeights?(batchRows: number, rows: number): StepWeights;
}

/** An objective whose gradient the policy's graph forms in one pass. */
export type OnePassObjective = Objective & Required<Pick<Objective, 'batchWeights'>>;

/** A kind of objective: its settings in the config and its constructor. One file and one line of the registry. */
export interface ObjectiveKind<Settings = unknown> {
  /** The value of `gflownet.objective`; its settings are `gflownet.NAME`. */
  readonly name: string;
  /** One line for `floodgate config schema`. */
  readonly describe: string;
  /** Strict section with defaults; absent for an objective without settings. */
  readonly settings?: z.ZodType<Settings>;
  /** Rows of the smallest update that it can learn from. */
  readonly leastRows: number;
  readonly usesLogZ: boolean;
  create(settings: Settings): Objective;
  /** Share of each update that the attacker writes, in place of `gflownet.sampling.freshShare`. */
  freshShare?(settings: Settings): number;
}

/** Half the square of `x` up to `bound`, then linear. */
export function huberLoss(x: number, bound: number): number {
  const size = Math.abs(x);
  return size <= bound ? 0.5 * x * x : bound * (size - 0.5 * bound);
}

/** Slope of `huberLoss`; that of half the square without a bound. */
export function huberSlope(x: number, bound = Number.POSITIVE_INFINITY): number {
  return Math.min(bound, Math.max(-bound, x));
}

/** Settings of an objective whose residuals may be bounded. */
export const boundedResiduals = z
  .strictObject({
    huber: z
      .number()
      .positive()
      .optional()
      .describe('nats beyond which a residual pulls no harder (Huber); squared without bound when absent'),
  })
  .prefault({});

/** delta_i for each row. */
export function residuals(logProbs: ArrayLike<number>, logRewards: ArrayLike<number>): Float64Array {
  return Float64Array.from(logProbs, (logProb, i) => logProb - (logRewards[i] as number));
}

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] as number;
  return values.length === 0 ? 0 : sum / values.length;
}

/** Weights of zero for n rows. */
export function zeroWeights(n: number): StepWeights {
  return {
    pairWeight: new Float32Array(n * n),
    rowWeight: new Float32Array(n),
    directWeight: new Float32Array(n),
  };
}

/** Weights of a share of the loss. @param share 1 gives the same weights. */
export function scaledWeights(weights: StepWeights, share: number): StepWeights {
  if (share === 1) return weights;
  const { pairWeight, rowWeight, directWeight } = weights;
  return {
    pairWeight: pairWeight.map((weight) => weight * share),
    rowWeight: rowWeight.map((weight) => weight * share),
    directWeight: directWeight.map((weight) => weight * share),
  };
}

/** Graph weights of rows whose gradients dL/d(log pi) are already known. */
export function directWeights(gradient: ArrayLike<number>): StepWeights {
  return { ...zeroWeights(gradient.length), directWeight: Float32Array.from(gradient) };
}
