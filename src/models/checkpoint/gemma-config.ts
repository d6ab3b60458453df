import { z } from 'zod';
import { parseFields } from '../formats/json-file.ts';
import { type DecoderShape, epsilon, headProblem, modelSize, READ_CONFIG, unsupported } from './decoder-shape.ts';
import { parseRope, type Rotation, ropeFactor, ropeFields, ropeParameters } from './rope-scaling.ts';

/**
 * Gemma 3 (text): RMSNorm by 1 + weight before and after attention and feed-forward, RMSNorm on query and key heads,
 * gated tanh GELU, scaled embeddings. Local layers see a window of tokens and have their own rotation.
 */
export interface Gemma3Config extends DecoderShape, Rotation {
  readonly family: 'gemma3';
  /** Rotation of the local layers; that of the global ones is in `ropeBase` and `ropeScaling`. */
  readonly localRotation: Rotation;
  /** Tokens that a local layer sees, the current one among them. */
  readonly slidingWindow: number;
  /** Every so many layers one is global, counted from 1; all others are local. */
  readonly globalEvery: number;
  /** Query-key products are divided by the square root of this. */
  readonly queryScalar: number;
}

/** Whether a layer (from 0) sees only the window. */
export function isLocalLayer({ globalEvery }: Pick<Gemma3Config, 'globalEvery'>, layer: number): boolean {
  return (layer + 1) % globalEvery !== 0;
}

/** Values that `Gemma3TextConfig` of `transformers` fills in, and that llama.cpp has in its code. */
export const GEMMA3_DEFAULTS = { globalEvery: 6, ropeBase: 1_000_000, localRopeBase: 10_000 } as const;

const gemma3Fields = z.looseObject({
  vocab_size: modelSize,
  hidden_size: modelSize,
  intermediate_size: modelSize,
  num_hidden_layers: modelSize,
  num_attention_heads: modelSize,
  num_key_value_heads: modelSize,
  head_dim: modelSize.default(256),
  max_position_embeddings: modelSize,
  rms_norm_eps: epsilon.default(1e-6),
  hidden_activation: z.string().default('gelu_pytorch_tanh'),
  query_pre_attn_scalar: ropeFactor.default(256),
  sliding_window: modelSize.default(4096),
  layer_types: z.array(z.string()).nullish(),
  sliding_window_pattern: modelSize.nullish(),
  _sliding_window_pattern: modelSize.nullish(),
  attention_bias: z.boolean().default(false),
  use_bidirectional_attention: z.boolean().nullish(),
  final_logit_softcapping: z.number().nullish(),
  attn_logit_softcapping: z.number().nullish(),
  tie_word_embeddings: z.boolean().default(true),
  ...ropeFields,
  rope_local_base_freq: ropeFactor.nullish(),
  rope_parameters: z
    .looseObject({ full_attention: ropeParameters.nullish(), sliding_attention: ropeParameters.nullish() })
    .nullish(),
});

type Gemma3Fields = z.infer<typeof gemma3Fields>;

/** The distance between global layers. @throws `format` when the layer types do not repeat. */
function globalEveryOf(fields: Gemma3Fields): number {
  const named = fields.sliding_window_pattern ?? fields._sliding_window_pattern ?? GEMMA3_DEFAULTS.globalEvery;
  const { layer_types: types, num_hidden_layers: layers } = fields;
  if (types === null || types === undefined) return named;
  const firstGlobal = types.indexOf('full_attention') + 1;
  const globalEvery = firstGlobal > 0 ? firstGlobal : Math.max(named, layers + 1); // a model cut before its first global
  const isRepeating = types.every(
    (type, layer) => type === (isLocalLayer({ globalEvery }, layer) ? 'sliding_attention' : 'full_attention'),
  );
  if (types.length !== layers || !isRepeating) {
    throw unsupported(`layer_types do not name a global layer in each ${globalEvery} of the ${layers} layers`);
  }
  return globalEvery;
}

/** Reads the rotations of both kinds of layer, from either style of config. */
function rotationsOf(fields: Gemma3Fields): { global: Rotation; local: Rotation } {
  const { max_position_embeddings: maxPositions, rope_parameters: byKind } = fields;
  const base = fields.rope_theta ?? GEMMA3_DEFAULTS.ropeBase;
  const localBase = fields.rope_local_base_freq ?? GEMMA3_DEFAULTS.localRopeBase;
  const isFlat = byKind !== null && byKind !== undefined && !('full_attention' in byKind);
  if (isFlat) throw unsupported('rope_parameters of gemma3_text do not name full_attention and sliding_attention');
  return {
    global: parseRope(
      { rope_theta: base, rope_scaling: fields.rope_scaling, rope_parameters: byKind?.full_attention },
      maxPositions,
    ),
    local: parseRope({ rope_theta: localBase, rope_parameters: byKind?.sliding_attention }, maxPositions),
  };
}

/** Refuses features that would change the result and are not supported. */
function refuseUnsupported(fields: Gemma3Fields): void {
  if (fields.hidden_activation !== 'gelu_pytorch_tanh') {
    throw unsupported(`hidden_activation is ${JSON.stringify(fields.hidden_activation)}, expected "gelu_pytorch_tanh"`);
  }
  if (fields.attention_bias) throw unsupported('attention_bias of gemma3_text is not supported');
  if (fields.use_bidirectional_attention === true) throw unsupported('bidirectional attention is not supported');
  const softcaps = [fields.final_logit_softcapping, fields.attn_logit_softcapping];
  if (softcaps.some((cap) => typeof cap === 'number')) throw unsupported('soft-capped logits are not supported');
}

/** Parses a config.json of type gemma3_text. @throws `format` when a field is missing, wrong or not supported. */
export function parseGemma3(json: unknown): Gemma3Config {
  const fields = parseFields(gemma3Fields, json, READ_CONFIG);
  refuseUnsupported(fields);
  const shape = {
    width: fields.hidden_size,
    heads: fields.num_attention_heads,
    kvHeads: fields.num_key_value_heads,
    headWidth: fields.head_dim,
  };
  const problem = headProblem({ family: 'gemma3', ...shape });
  if (problem !== undefined) throw unsupported(problem);
  const { global, local } = rotationsOf(fields);
  return {
    family: 'gemma3',
    vocabSize: fields.vocab_size,
    ...shape,
    layers: fields.num_hidden_layers,
    feedForwardWidth: fields.intermediate_size,
    maxPositions: fields.max_position_embeddings,
    normEpsilon: fields.rms_norm_eps,
    tiedEmbeddings: fields.tie_word_embeddings,
    ...global,
    localRotation: local,
    slidingWindow: fields.sliding_window,
    globalEvery: globalEveryOf(fields),
    queryScalar: fields.query_pre_attn_scalar,
  };
}
