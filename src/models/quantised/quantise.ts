import { maxOf } from '../../base/long-lists.ts';
import type { LinearLayout } from '../../engine/graph/ops.ts';

const LARGEST = 127;
const TILE = 64;

/** One linear map of a frozen model that is quantised, by the name of its weight. */
export interface QuantisedLinear {
  readonly weight: string;
  readonly inSize: number;
  readonly outSize: number;
  readonly layout: LinearLayout;
}

/** The largest magnitude of each channel of a linear map's input [in], by the name of its weight. */
export type ChannelMaxima = ReadonlyMap<string, Float32Array>;

/** A channel that was quieter than this share of the mean may only have missed its text. */
const QUIET = 0.1;

/**
 * Factors of the input's channels [in] that move half of their spread into the weights (SmoothQuant, Xiao et al. 2023,
 * alpha 0.5): sqrt(largest weight / largest input). Without them one outlier channel would take all steps of its row's
 * int8 grid. They are powers of two, so that they round nothing.
 */
export function balanceChannels(inputs: Float32Array, weights: Float32Array): Float32Array {
  const mean = inputs.reduce((sum, value) => sum + value, 0) / inputs.length;
  if (mean === 0) return new Float32Array(inputs.length).fill(1); // not observed
  const least = maxOf(weights) * 1e-6;
  return Float32Array.from(inputs, (input, i) => {
    const ratio = Math.max(weights[i] as number, least) / Math.max(input, QUIET * mean);
    return ratio > 0 ? 2 ** Math.round(Math.log2(ratio) / 2) : 1;
  });
}

/** The largest magnitude of a weight at each channel of its input [in]. */
export function largestWeights(
  values: Float32Array,
  { inSize, outSize, layout }: Pick<QuantisedLinear, 'inSize' | 'outSize' | 'layout'>,
): Float32Array {
  const [stepIn, stepOut] = layout === 'outIn' ? [1, inSize] : [outSize, 1];
  const largest = new Float32Array(inSize);
  for (let o = 0; o < outSize; o++) {
    for (let i = 0; i < inSize; i++)
      largest[i] = Math.max(largest[i] as number, Math.abs(values[i * stepIn + o * stepOut] as number));
  }
  return largest;
}

/** Raises `maxima` [in] to the magnitudes of `x` [N, in]. */
export function raiseMaxima(maxima: Float32Array, x: Float32Array): void {
  for (let k = 0; k < x.length; k++) {
    const i = k % maxima.length;
    maxima[i] = Math.max(maxima[i] as number, Math.abs(x[k] as number));
  }
}

/**
 * Quantises to symmetric int8 with one scale for each output, the input's channel i divided by `balance[i]` first:
 * weights [in, out] and scales [out].
 */
export function quantiseColumns(
  values: Float32Array,
  { inSize, outSize, layout }: Pick<QuantisedLinear, 'inSize' | 'outSize' | 'layout'>,
  balance: Float32Array,
): { weight: Int8Array; scales: Float32Array } {
  const [stepIn, stepOut] = layout === 'outIn' ? [1, inSize] : [outSize, 1];
  const weight = new Int8Array(inSize * outSize);
  const scales = new Float32Array(outSize);
  for (let o = 0; o < outSize; o++) {
    let largest = 0;
    for (let i = 0; i < inSize; i++)
      largest = Math.max(largest, Math.abs((values[i * stepIn + o * stepOut] as number) / (balance[i] as number)));
    scales[o] = Math.fround(largest / LARGEST) || 1;
  }
  // A few outputs at a time: reading along one axis and writing along the other would miss the processor's cache.
  for (let first = 0; first < outSize; first += TILE) {
    const end = Math.min(first + TILE, outSize);
    for (let i = 0; i < inSize; i++) {
      const factor = balance[i] as number;
      for (let o = first; o < end; o++)
        weight[i * outSize + o] = Math.round(
          (values[i * stepIn + o * stepOut] as number) / factor / (scales[o] as number),
        );
    }
  }
  return { weight, scales };
}
