import type { DecoderConfig, Gpt2Config, LlamaConfig } from '../checkpoint/decoder-config.ts';
import { type Gemma3Config, isLocalLayer } from '../checkpoint/gemma-config.ts';
import type { RopeScaling, Rotation } from '../checkpoint/rope-scaling.ts';

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

/** Rotary positions of one kind of layer, in the style of `transformers` 5. */
function rotationJson({ ropeBase, ropeScaling }: Rotation): object {
  return { ...(ropeScalingJson(ropeScaling) ?? { rope_type: 'default' }), rope_theta: ropeBase };
}

function gemma3Json(config: Gemma3Config): Record<string, unknown> {
  const kinds = Array.from({ length: config.layers }, (_, layer) =>
    isLocalLayer(config, layer) ? 'sliding_attention' : 'full_attention',
  );
  return {
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    vocab_size: config.vocabSize,
    hidden_size: config.width,
    intermediate_size: config.feedForwardWidth,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headWidth,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.normEpsilon,
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: config.queryScalar,
    sliding_window: config.slidingWindow,
    sliding_window_pattern: config.globalEvery,
    layer_types: kinds,
    // both styles: `transformers` 5 reads the last, 4 the others
    rope_theta: config.ropeBase,
    rope_local_base_freq: config.localRotation.ropeBase,
    rope_scaling: ropeScalingJson(config.ropeScaling),
    rope_parameters: {
      full_attention: rotationJson(config),
      sliding_attention: rotationJson(config.localRotation),
    },
  };
}

function gpt2Json(config: Gpt2Config): Record<string, unknown> {
  return {
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
}

function modelJson(config: DecoderConfig): Record<string, unknown> {
  switch (config.family) {
    case 'gpt2':
      return gpt2Json(config);
    case 'llama':
      return llamaJson(config);
    case 'gemma3':
      return gemma3Json(config);
  }
}

/**
 * Returns a config.json with which `transformers` (4 or 5) loads a decoder of this config in fp32. Used where the
 * source has none (GGUF, models made in-process).
 */
export function decoderConfigJson(config: DecoderConfig, tokens: ConfigTokens): Record<string, unknown> {
  return {
    ...modelJson(config),
    tie_word_embeddings: config.tiedEmbeddings,
    // explicit nulls: otherwise `transformers` fills in ids of the family's first model
    bos_token_id: tokens.bosId ?? null,
    eos_token_id: tokens.endIds[0] ?? null,
    pad_token_id: tokens.padId ?? null,
    dtype: 'float32',
    torch_dtype: 'float32',
  };
}
