import type { Shape, Size } from './size.ts';

export type Dtype = 'float32' | 'int64' | 'int32' | 'int8' | 'float16';

/** One tensor of the graph: an input, an initializer, or a node's output. */
export interface Value {
  readonly id: number;
  readonly dtype: Dtype;
  readonly shape: Shape;
  /** True when a gradient may flow through it to something trained. */
  readonly requiresGradient: boolean;
}

export type BinaryKind = 'add' | 'subtract' | 'multiply' | 'divide';
export type UnaryKind = 'negate' | 'exp' | 'log' | 'tanh' | 'sigmoid' | 'erf' | 'sqrt' | 'abs' | 'sign' | 'relu';

/**
 * The closed list of operations. Shapes are stated with the field's letters: N rows, V vocabulary, D width,
 * B batch, H heads, T tokens, S keys, K head width.
 */
export type Op =
  | { readonly kind: BinaryKind } // a, b broadcast as in numpy
  | { readonly kind: UnaryKind }
  | { readonly kind: 'clip'; readonly low: number; readonly high: number }
  /** [..., m, k] x [..., k, n], after the optional swaps of the last two axes; `scale` multiplies the product. */
  | {
      readonly kind: 'matmul';
      readonly transposeA: boolean;
      readonly transposeB: boolean;
      readonly scale: number;
    }
  /** x [N, in], weight, optional bias broadcast to [N, out] -> [N, out]. */
  | { readonly kind: 'linear'; readonly layout: LinearLayout }
  | { readonly kind: 'transpose'; readonly permutation: readonly number[] }
  | { readonly kind: 'reshape'; readonly shape: Shape }
  | { readonly kind: 'expand'; readonly shape: Shape }
  | { readonly kind: 'concat'; readonly axis: number }
  /** One input, sizes.length outputs. */
  | { readonly kind: 'split'; readonly axis: number; readonly sizes: readonly Size[] }
  | { readonly kind: 'reduceSum' | 'reduceMean'; readonly axes: readonly number[]; readonly keepDims: boolean }
  | { readonly kind: 'softmax' } // over the last axis
  /** x, weight, bias -> y, mean, inverse standard deviation. */
  | { readonly kind: 'layerNorm'; readonly epsilon: number }
  /** x, weight -> y, inverse root mean square. */
  | { readonly kind: 'rmsNorm'; readonly epsilon: number }
  | { readonly kind: 'gelu'; readonly approximation: 'tanh' | 'none' }
  | { readonly kind: 'silu' }
  /** table [V, D], ids int64 [...] -> [..., D]. */
  | { readonly kind: 'embedding' }
  /** gradient [..., D], ids [...] -> [V, D]: the adjoint of `embedding`. */
  | { readonly kind: 'embeddingGradient'; readonly rows: number }
  /** logits [N, V], ids int64 [N] -> log-prob of each id [N], all log-probs [N, V]. */
  | { readonly kind: 'tokenLogProb' }
  /** all log-probs [N, V], ids [N], gradient [N] -> [N, V]: the adjoint of `tokenLogProb`. */
  | { readonly kind: 'tokenLogProbGradient' }
  /** x [B, T, H*K], positions int64 [B, T], cos and sin [max, K/2]: rotates the halves (i, i + K/2) of each head. */
  | { readonly kind: 'rotary' }
  /** Log-softmax over the last axis. */
  | { readonly kind: 'logSoftmax' }
  /**
   * x [N, in], constant int8 weight [in, out], scales [out] -> [N, out]; each row of x quantised on the fly by its own
   * scale.
   */
  | { readonly kind: 'int8Linear' }
  | { readonly kind: 'cast'; readonly to: Dtype };

export type OpKind = Op['kind'];
/** The member of `Op` whose kind includes `K` (some members share a shape over several kinds). */
export type OpOf<K extends OpKind> = Op extends infer O extends Op
  ? O extends Op
    ? K extends O['kind']
      ? O
      : never
    : never
  : never;

/** How a linear weight lies in memory: Llama `[out, in]`, GPT-2 Conv1D `[in, out]`. */
export type LinearLayout = 'outIn' | 'inOut';

export interface GraphNode {
  readonly op: Op;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}
