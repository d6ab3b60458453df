/** RoPE frequency scaling, as `transformers` names it. */
export type RopeScaling =
  | { readonly kind: 'none' }
  | { readonly kind: 'linear'; readonly factor: number }
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalMaxPositions: number;
    }
  | {
      readonly kind: 'yarn';
      readonly factor: number;
      readonly originalMaxPositions: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly attentionFactor: number;
    };

interface DecoderShape {
  readonly vocabSize: number;
  /** D: width of the residual stream. */
  readonly width: number;
  /** L */
  readonly layers: number;
  /** H: query heads. */
  readonly heads: number;
  /** Key/value heads; equals `heads` without grouped-query attention. */
  readonly kvHeads: number;
  /** K: width of one head. */
  readonly headWidth: number;
  readonly feedForwardWidth: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly tiedEmbeddings: boolean;
}

/** GPT-2: learned positions, LayerNorm, fused QKV, tanh GELU; Conv1D weights `[in, out]`. */
export interface Gpt2Config extends DecoderShape {
  readonly family: 'gpt2';
}

/** Llama-like (SmolLM2, Llama 3.x, Qwen 2.5/3): RoPE, RMSNorm, SwiGLU; weights `[out, in]`. */
export interface LlamaConfig extends DecoderShape {
  readonly family: 'llama';
  readonly ropeBase: number;
  readonly ropeScaling: RopeScaling;
  /** Bias on the Q, K and V projections (Qwen 2.5). */
  readonly qkvBias: boolean;
  /** RMSNorm on each query and key head (Qwen 3). */
  readonly qkNorm: boolean;
}

export type DecoderConfig = Gpt2Config | LlamaConfig;
