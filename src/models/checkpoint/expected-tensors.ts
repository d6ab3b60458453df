import { FloodgateError } from '../../base/errors.ts';
import type { DecoderConfig, Gpt2Config } from './decoder-config.ts';
import type { EncoderConfig } from './encoder-config.ts';

/** Name and shape of a tensor that a config requires. */
export type ExpectedTensor = readonly [name: string, shape: readonly number[]];

interface Shaped {
  readonly shape: readonly number[];
}

function* rotaryTensors(config: Exclude<DecoderConfig, Gpt2Config>): Iterable<ExpectedTensor> {
  const { width: D, heads: H, kvHeads, headWidth: K, feedForwardWidth: F } = config;
  const isGemma = config.family === 'gemma3';
  yield ['model.embed_tokens.weight', [config.vocabSize, D]];
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`;
    yield [`${at}.input_layernorm.weight`, [D]];
    yield [`${at}.post_attention_layernorm.weight`, [D]];
    if (isGemma) {
      yield [`${at}.pre_feedforward_layernorm.weight`, [D]];
      yield [`${at}.post_feedforward_layernorm.weight`, [D]];
    }
    for (const [name, rows] of [
      ['q', H * K],
      ['k', kvHeads * K],
      ['v', kvHeads * K],
    ] as const) {
      yield [`${at}.self_attn.${name}_proj.weight`, [rows, D]];
      if (!isGemma && config.qkvBias) yield [`${at}.self_attn.${name}_proj.bias`, [rows]];
    }
    if (isGemma || config.qkNorm) {
      yield [`${at}.self_attn.q_norm.weight`, [K]];
      yield [`${at}.self_attn.k_norm.weight`, [K]];
    }
    yield [`${at}.self_attn.o_proj.weight`, [D, H * K]];
    yield [`${at}.mlp.gate_proj.weight`, [F, D]];
    yield [`${at}.mlp.up_proj.weight`, [F, D]];
    yield [`${at}.mlp.down_proj.weight`, [D, F]];
  }
  yield ['model.norm.weight', [D]];
  if (!config.tiedEmbeddings) yield ['lm_head.weight', [config.vocabSize, D]];
}

function* gpt2Tensors(config: Gpt2Config): Iterable<ExpectedTensor> {
  const { width: D, feedForwardWidth: F } = config;
  yield ['wte.weight', [config.vocabSize, D]];
  yield ['wpe.weight', [config.maxPositions, D]];
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `h.${layer}`;
    for (const norm of ['ln_1', 'ln_2']) {
      yield [`${at}.${norm}.weight`, [D]];
      yield [`${at}.${norm}.bias`, [D]];
    }
    const matrices = [
      ['attn.c_attn', D, 3 * D],
      ['attn.c_proj', D, D],
      ['mlp.c_fc', D, F],
      ['mlp.c_proj', F, D],
    ] as const;
    for (const [name, rows, columns] of matrices) {
      yield [`${at}.${name}.weight`, [rows, columns]];
      yield [`${at}.${name}.bias`, [columns]];
    }
  }
  yield ['ln_f.weight', [D]];
  yield ['ln_f.bias', [D]];
  if (!config.tiedEmbeddings) yield ['lm_head.weight', [config.vocabSize, D]];
}

/** Name and shape of every tensor that a decoder of this config has, in the `transformers` layout. */
export function expectedDecoderTensors(config: DecoderConfig): Iterable<ExpectedTensor> {
  return config.family === 'gpt2' ? gpt2Tensors(config) : rotaryTensors(config);
}

/** Weight and bias of a linear layer or of a LayerNorm (no `columns`). */
function* affine(name: string, rows: number, columns?: number): Iterable<ExpectedTensor> {
  yield [`${name}.weight`, columns === undefined ? [rows] : [rows, columns]];
  yield [`${name}.bias`, [rows]];
}

function* classifierTensors(config: EncoderConfig): Iterable<ExpectedTensor> {
  const { width: D, labels } = config;
  switch (config.family) {
    case 'bert':
      yield* affine('pooler.dense', D, D);
      yield* affine('classifier', labels.length, D);
      break;
    case 'roberta':
      yield* affine('classifier.dense', D, D);
      yield* affine('classifier.out_proj', labels.length, D);
      break;
    case 'distilbert':
      yield* affine('pre_classifier', D, D);
      yield* affine('classifier', labels.length, D);
      break;
  }
}

/** Name and shape of every tensor that an encoder of this config uses, in the naming of `tensor-names.ts`. */
export function* expectedEncoderTensors(config: EncoderConfig): Iterable<ExpectedTensor> {
  const { width: D, feedForwardWidth: F } = config;
  yield ['embeddings.word_embeddings.weight', [config.vocabSize, D]];
  yield ['embeddings.position_embeddings.weight', [config.maxPositions, D]];
  if (config.tokenTypes > 0) yield ['embeddings.token_type_embeddings.weight', [config.tokenTypes, D]];
  yield* affine('embeddings.LayerNorm', D);
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `encoder.layer.${layer}`;
    for (const name of ['query', 'key', 'value']) yield* affine(`${at}.attention.self.${name}`, D, D);
    yield* affine(`${at}.attention.output.dense`, D, D);
    yield* affine(`${at}.attention.output.LayerNorm`, D);
    yield* affine(`${at}.intermediate.dense`, F, D);
    yield* affine(`${at}.output.dense`, D, F);
    yield* affine(`${at}.output.LayerNorm`, D);
  }
  if (config.labels.length > 0) yield* classifierTensors(config);
}

/**
 * Returns the tensors that the config requires, in its order. Ends at the first that is missing, so that a config with
 * millions of claimed layers costs nothing.
 * @throws `format` naming a tensor that is missing, has another shape, or is unknown to the config (a bias, a head of
 * another task). Omitting an unknown tensor silently would change the model.
 */
export function pickExpectedTensors<T extends Shaped>(
  path: string,
  tensors: ReadonlyMap<string, T>,
  expected: Iterable<ExpectedTensor>,
): Map<string, T> {
  const picked = new Map<string, T>();
  for (const [name, shape] of expected) {
    const found = tensors.get(name);
    if (found === undefined) throw new FloodgateError('format', `open ${path}: tensor ${name} is missing`);
    if (`${found.shape}` !== `${shape}`) {
      throw new FloodgateError(
        'format',
        `open ${path}: tensor ${name} has shape [${found.shape}], expected [${shape}] from its config`,
      );
    }
    picked.set(name, found);
  }
  for (const name of tensors.keys()) {
    if (!picked.has(name)) {
      throw new FloodgateError(
        'format',
        `open ${path}: tensor ${name} is not part of the model that its config describes`,
      );
    }
  }
  return picked;
}
