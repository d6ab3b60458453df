import {
  ADAMW_DEFAULTS,
  type AdamWOptions,
  type AdamWState,
  adamwUpdate,
  clipGradient,
  type RateSegment,
} from './adamw.ts';

/** A flat parameter vector and its gradient, of the same length. */
export interface Trained {
  readonly parameters: { readonly data: Float32Array };
  readonly gradient: Float32Array;
}

export interface OptimizerStepOptions extends Partial<AdamWOptions> {
  /** One rate for the whole vector, or segments with their own; an element outside every segment does not change. */
  readonly learningRate: number | readonly RateSegment[];
  /** Largest global norm of the gradient (Pascanu et al. 2013). */
  readonly gradientClip: number;
}

/**
 * One optimizer step in place: clips the gradient to a global norm, then makes one AdamW update.
 *
 * @param trained changes: `parameters` by the update, `gradient` by the clipping.
 * @returns the gradient's norm before clipping.
 * @throws FloodgateError `run` when the gradient is not finite; neither parameters nor state change then.
 */
export function optimizerStep(trained: Trained, state: AdamWState, options: OptimizerStepOptions): number {
  const { learningRate, gradientClip, ...adamw } = options;
  const { parameters, gradient } = trained;
  const norm = clipGradient(gradient, gradientClip);
  const segments = typeof learningRate === 'number' ? [{ start: 0, end: gradient.length, learningRate }] : learningRate;
  adamwUpdate(parameters.data, gradient, state, segments, { ...ADAMW_DEFAULTS, ...adamw });
  return norm;
}
