import { FloodgateError } from '../../base/errors.ts';

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled: p -= rate * weightDecay * p. */
  readonly weightDecay: number;
}

export const ADAMW_DEFAULTS: AdamWOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };

/** Optimizer state over one flat parameter vector; plain data, so that a checkpoint holds all of it. */
export interface AdamWState {
  readonly firstMoment: Float32Array;
  readonly secondMoment: Float32Array;
  /** Updates made so far. */
  step: number;
}

export function createAdamWState(size: number): AdamWState {
  return { firstMoment: new Float32Array(size), secondMoment: new Float32Array(size), step: 0 };
}

/**
 * Scales the gradient in place to a global norm of at most `maxNorm`, as PyTorch does; returns the norm before.
 *
 * @throws FloodgateError `run` when the gradient is not finite, before it can spoil the parameters.
 */
export function clipGradient(gradient: Float32Array, maxNorm: number): number {
  let squares = 0;
  for (let i = 0; i < gradient.length; i++) squares += (gradient[i] as number) ** 2;
  const norm = Math.sqrt(squares);
  if (!Number.isFinite(norm)) {
    throw new FloodgateError('run', `train: the gradient is ${norm}, expected a number: nothing was changed by it`, {
      hint: "the model's weights hold NaN, or learningRate is too high; continue from the last saved parameters",
    });
  }
  const scale = maxNorm / (norm + 1e-6);
  if (scale < 1) for (let i = 0; i < gradient.length; i++) gradient[i] = (gradient[i] as number) * scale;
  return norm;
}

/** Part of the vector with its own learning rate: elements `start` up to, not including, `end`. */
export interface RateSegment {
  readonly start: number;
  readonly end: number;
  readonly learningRate: number;
}

/** One AdamW update in place (Loshchilov and Hutter 2019). Elements outside every segment stay as they are. */
export function adamwUpdate(
  parameters: Float32Array,
  gradient: Float32Array,
  state: AdamWState,
  segments: readonly RateSegment[],
  options: AdamWOptions = ADAMW_DEFAULTS,
): void {
  const { beta1, beta2, epsilon, weightDecay } = options;
  const { firstMoment: m, secondMoment: v } = state;
  state.step++;
  const correction1 = 1 - beta1 ** state.step;
  const correction2 = Math.sqrt(1 - beta2 ** state.step);
  for (const { start, end, learningRate } of segments) {
    const decay = 1 - learningRate * weightDecay;
    const stepSize = learningRate / correction1;
    for (let i = start; i < end; i++) {
      const g = gradient[i] as number;
      const mi = beta1 * (m[i] as number) + (1 - beta1) * g;
      const vi = beta2 * (v[i] as number) + (1 - beta2) * g * g;
      m[i] = mi;
      v[i] = vi;
      parameters[i] = (parameters[i] as number) * decay - (stepSize * mi) / (Math.sqrt(vi) / correction2 + epsilon);
    }
  }
}
