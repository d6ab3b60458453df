import { z } from 'zod';
import { parseFields } from '../formats/json-file.ts';
import { type DecoderShape, epsilon, headProblem, modelSize, READ_CONFIG, unsupported } from './decoder-shape.ts';
import { type Gemma3Config, parseGemma3 } from './gemma-config.ts';
import { parseRope, type Rotation, ropeFields } from './rope-scaling.ts';

/** GPT-2: learned positions, LayerNorm, fused QKV, tanh GELU; Conv1D weights `[in, out]`. */
export interface Gpt2Config extends DecoderShape {
  readonly family: 'gpt2';
}

/** Llama-like (SmolLM2, Llama 3.x, Qwen 2.5/3): RoPE, RMSNorm, SwiGLU; weights `[out, in]`. */
export interface LlamaConfig extends DecoderShape, Rotation {
  readonly family: 'llama';
  /** Bias on the Q, K and V projections (Qwen 2.5). */
  readonly qkvBias: boolean;
  /** RMSNorm on each query and key head (Qwen 3). */
  readonly qkNorm: boolean;
}

export type DecoderConfig = Gpt2Config | LlamaConfig | Gemma3Config;

const gpt2Fields = z.looseObject({
  vocab_size: modelSize,
  n_embd: modelSize,
  n_layer: modelSize,
  n_head: modelSize,
  n_positions: modelSize,
  n_inner: modelSize.nullish(),
  layer_norm_epsilon: epsilon.default(1e-5),
  activation_function: z.string().default('gelu_new'),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  add_cross_attention: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
});

const llamaFields = z.looseObject({
  vocab_size: modelSize,
  hidden_size: modelSize,
  intermediate_size: modelSize,
  num_hidden_layers: modelSize,
  num_attention_heads: modelSize,
  num_key_value_heads: modelSize.nullish(),
  head_dim: modelSize.nullish(),
  max_position_embeddings: modelSize,
  rms_norm_eps: epsilon.default(1e-6),
  hidden_act: z.string().default('silu'),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  sliding_window: modelSize.nullish(),
  use_sliding_window: z.boolean().nullish(),
  layer_types: z.array(z.string()).nullish(),
  ...ropeFields,
});

type LlamaFields = z.infer<typeof llamaFields>;

const DECODER_TYPES = ['gpt2', 'llama', 'qwen2', 'qwen3', 'mistral', 'gemma3_text'] as const;
type DecoderType = (typeof DECODER_TYPES)[number];
type LlamaType = Exclude<DecoderType, 'gpt2' | 'gemma3_text'>;

/** Window that Mistral uses when its config names none (`MistralConfig`). */
const MISTRAL_DEFAULT_WINDOW = 4096;
/** Head width that Qwen 3 uses when its config names none (`Qwen3Config`). */
const QWEN3_DEFAULT_HEAD_WIDTH = 128;

/** Whether a `model_type` of config.json names a supported decoder family. */
export function isDecoderType(modelType: string): modelType is DecoderType {
  return DECODER_TYPES.some((known) => known === modelType);
}

function headWidthOf(width: number, heads: number): number {
  if (width % heads !== 0) throw unsupported(`a width of ${width} does not divide into ${heads} heads`);
  return width / heads;
}

function parseGpt2(json: unknown): Gpt2Config {
  const fields = parseFields(gpt2Fields, json, READ_CONFIG);
  // Both name the tanh approximation; exact GELU differs by 1e-3.
  if (!['gelu_new', 'gelu_pytorch_tanh'].includes(fields.activation_function)) {
    throw unsupported(`activation_function is ${JSON.stringify(fields.activation_function)}, expected "gelu_new"`);
  }
  if (!fields.scale_attn_weights || fields.scale_attn_by_inverse_layer_idx || fields.add_cross_attention) {
    throw unsupported('unscaled, layer-scaled or cross attention is not supported for gpt2');
  }
  return {
    family: 'gpt2',
    vocabSize: fields.vocab_size,
    width: fields.n_embd,
    layers: fields.n_layer,
    heads: fields.n_head,
    kvHeads: fields.n_head,
    headWidth: headWidthOf(fields.n_embd, fields.n_head),
    feedForwardWidth: fields.n_inner ?? 4 * fields.n_embd,
    maxPositions: fields.n_positions,
    normEpsilon: fields.layer_norm_epsilon,
    tiedEmbeddings: fields.tie_word_embeddings,
  };
}

/** Attention window in tokens; undefined when every token sees all earlier ones. */
function slidingWindowOf(fields: LlamaFields, type: LlamaType): number | undefined {
  const window =
    type === 'mistral' && fields.sliding_window === undefined ? MISTRAL_DEFAULT_WINDOW : fields.sliding_window;
  if (window === null || window === undefined || window >= fields.max_position_embeddings) return undefined;
  if (fields.layer_types !== null && fields.layer_types !== undefined) {
    return fields.layer_types.every((layer) => layer === 'full_attention') ? undefined : window;
  }
  if (type === 'mistral') return window;
  return fields.use_sliding_window === true ? window : undefined;
}

/** Refuses features that would change the result and are not supported. */
function refuseUnsupported(fields: LlamaFields, type: LlamaType): void {
  if (fields.hidden_act !== 'silu') {
    throw unsupported(`hidden_act is ${JSON.stringify(fields.hidden_act)}, expected "silu"`);
  }
  if (fields.attention_bias || fields.mlp_bias)
    throw unsupported(`attention_bias or mlp_bias of ${type} is not supported`);
  const window = slidingWindowOf(fields, type);
  if (window !== undefined) {
    throw unsupported(`a sliding window of ${window} tokens is in use, which is not supported`);
  }
}

function parseLlama(json: unknown, type: LlamaType): LlamaConfig {
  const fields = parseFields(llamaFields, json, READ_CONFIG);
  refuseUnsupported(fields, type);
  const heads = fields.num_attention_heads;
  const kvHeads = fields.num_key_value_heads ?? heads;
  const headWidth =
    fields.head_dim ?? (type === 'qwen3' ? QWEN3_DEFAULT_HEAD_WIDTH : headWidthOf(fields.hidden_size, heads));
  const problem = headProblem({ family: 'llama', width: fields.hidden_size, heads, kvHeads, headWidth });
  if (problem !== undefined) throw unsupported(problem);
  return {
    family: 'llama',
    vocabSize: fields.vocab_size,
    width: fields.hidden_size,
    layers: fields.num_hidden_layers,
    heads,
    kvHeads,
    headWidth,
    feedForwardWidth: fields.intermediate_size,
    maxPositions: fields.max_position_embeddings,
    normEpsilon: fields.rms_norm_eps,
    tiedEmbeddings: fields.tie_word_embeddings,
    ...parseRope(fields, fields.max_position_embeddings),
    qkvBias: type === 'qwen2',
    qkNorm: type === 'qwen3',
  };
}

/**
 * Parses the decoder that a config.json of `transformers` 4 or 5 describes.
 * Types: gpt2, llama, qwen2, qwen3, mistral, gemma3_text.
 * @throws `format` when a field is missing, of the wrong type, or asks for an unsupported feature.
 */
export function parseDecoderConfig(json: unknown, modelType: DecoderType): DecoderConfig {
  switch (modelType) {
    case 'gpt2':
      return parseGpt2(json);
    case 'gemma3_text':
      return parseGemma3(json);
    default:
      return parseLlama(json, modelType);
  }
}
