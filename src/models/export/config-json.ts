import type { DecoderConfig, LlamaConfig } from '../checkpoint/decoder-config.ts';
import type { RopeScaling } from '../checkpoint/rope-scaling.ts';

/** Ids of the tokens that a config.json names. */
export interface ConfigTokens {
  readonly bosId: number | undefined;
  readonly endIds: readonly number[];
  readonly padId: number | undefined;
}

function ropeScalingJson(scaling: RopeScaling): object | null {
  switch (scaling.kind) {
    case 'none':
      return null;
    case 'linear':
      return { rope_type: 'linear', factor: scaling.factor };
    case 'llama3':
      return {
        rope_type: 'llama3',
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalMaxPositions,
      };
    case 'yarn':
      return {
        rope_type: 'yarn',
        factor: scaling.factor,
        original_max_position_embeddings: scaling.originalMaxPositions,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        attention_factor: scaling.attentionFactor,
      };
  }
}

/** Names the `transformers` class that computes this config. */
function llamaClass({ qkNorm, qkvBias }: LlamaConfig): readonly [modelType: string, architecture: string] {
  if (qkNorm) return ['qwen3', 'Qwen3ForCausalLM'];
  return qkvBias ? ['qwen2', 'Qwen2ForCausalLM'] : ['llama', 'LlamaForCausalLM'];
}

function llamaJson(config: LlamaConfig): Record<string, unknown> {
  const [modelType, architecture] = llamaClass(config);
  return {
    architectures: [architecture],
    model_type: modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.width,
    intermediate_size: config.feedForwardWidth,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headWidth,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.normEpsilon,
    hidden_act: 'silu',
    rope_theta: config.ropeBase,
    rope_scaling: ropeScalingJson(config.ropeScaling),
  };
}

/**
 * Returns a config.json with which `transformers` (4 or 5) loads a decoder of this config in fp32. Used where the
 * source has none (GGUF, models made in-process).
 */
export function decoderConfigJson(config: DecoderConfig, tokens: ConfigTokens): Record<string, unknown> {
  const model: Record<string, unknown> =
    config.family === 'llama'
      ? llamaJson(config)
      : {
          architectures: ['GPT2LMHeadModel'],
          model_type: 'gpt2',
          vocab_size: config.vocabSize,
          n_embd: config.width,
          n_inner: config.feedForwardWidth,
          n_layer: config.layers,
          n_head: config.heads,
          n_positions: config.maxPositions,
          layer_norm_epsilon: config.normEpsilon,
          activation_function: 'gelu_new',
        };
  return {
    ...model,
    tie_word_embeddings: config.tiedEmbeddings,
    // explicit nulls: otherwise `transformers` fills in ids of the family's first model
    bos_token_id: tokens.bosId ?? null,
    eos_token_id: tokens.endIds[0] ?? null,
    pad_token_id: tokens.padId ?? null,
    dtype: 'float32',
    torch_dtype: 'float32',
  };
}
