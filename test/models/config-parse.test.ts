import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { isDecoderType, parseDecoderConfig } from '../../src/models/checkpoint/decoder-config.ts';
import { isEncoderType, parseEncoderConfig } from '../../src/models/checkpoint/encoder-config.ts';
import { testPath } from '../support/golden-file.ts';

type Json = Record<string, unknown>;

const llama: Json = {
  vocab_size: 100,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-5,
};
const gpt2: Json = { vocab_size: 100, n_embd: 64, n_layer: 2, n_head: 4, n_positions: 128 };
const bert: Json = {
  vocab_size: 100,
  hidden_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 128,
  max_position_embeddings: 514,
};
const distilbert: Json = {
  vocab_size: 100,
  dim: 64,
  n_layers: 2,
  n_heads: 4,
  hidden_dim: 128,
  max_position_embeddings: 512,
};
const plain = { labelCount: undefined, tokenLimit: undefined };

const ropeOf = (changes: Json) => {
  const config = parseDecoderConfig({ ...llama, ...changes }, 'llama');
  return config.family === 'llama' ? { base: config.ropeBase, scaling: config.ropeScaling } : undefined;
};

test('a GPT-2 config as the hub has it', () => {
  const hub = { ...gpt2, n_ctx: 128, n_inner: null, activation_function: 'gelu_new', layer_norm_epsilon: 1e-5 };
  expect(parseDecoderConfig(hub, 'gpt2')).toEqual({
    family: 'gpt2',
    vocabSize: 100,
    width: 64,
    layers: 2,
    heads: 4,
    kvHeads: 4,
    headWidth: 16,
    feedForwardWidth: 256,
    maxPositions: 128,
    normEpsilon: 1e-5,
    tiedEmbeddings: true,
  });
});

test('Qwen has its biases and norms, Llama neither', () => {
  expect(parseDecoderConfig(llama, 'llama')).toMatchObject({
    qkvBias: false,
    qkNorm: false,
    headWidth: 16,
    kvHeads: 2,
  });
  expect(parseDecoderConfig(llama, 'qwen2')).toMatchObject({ qkvBias: true, qkNorm: false, headWidth: 16 });
  expect(parseDecoderConfig(llama, 'qwen3')).toMatchObject({ qkvBias: false, qkNorm: true, headWidth: 128 });
});

test('both styles of rope config give the same positions', () => {
  const llama3 = { factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  const four = ropeOf({ rope_theta: 5e5, rope_scaling: { rope_type: 'llama3', ...llama3 } });
  const five = ropeOf({ rope_parameters: { rope_theta: 5e5, rope_type: 'llama3', ...llama3 } });
  expect(four).toEqual(five);
  expect(four).toEqual({
    base: 5e5,
    scaling: { kind: 'llama3', factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 },
  });
  expect(ropeOf({ rope_theta: 7, rope_scaling: null })).toEqual({ base: 7, scaling: { kind: 'none' } });
  expect(ropeOf({})).toEqual({ base: 10_000, scaling: { kind: 'none' } });
  expect(ropeOf({ rope_scaling: { type: 'linear', factor: 2 } })?.scaling).toEqual({ kind: 'linear', factor: 2 });
});

test("YaRN's attention factor follows transformers: given, from the factor, or from both mscales", () => {
  const attentionOf = (changes: Json) => {
    const scaling = ropeOf({ rope_scaling: { rope_type: 'yarn', factor: 4, ...changes } })?.scaling;
    return scaling?.kind === 'yarn' ? scaling.attentionFactor : undefined;
  };
  expect(attentionOf({})).toBeCloseTo(1.1386294361, 9);
  expect(attentionOf({ attention_factor: 0.75 })).toBe(0.75);
  expect(attentionOf({ mscale: 1, mscale_all_dim: 1 })).toBe(1);
  expect(attentionOf({ mscale: 2, mscale_all_dim: 1 })).toBeCloseTo(
    (0.2 * Math.log(4) + 1) / (0.1 * Math.log(4) + 1),
    12,
  );
  expect(ropeOf({ rope_scaling: { rope_type: 'yarn', factor: 4, beta_fast: 8 } })?.scaling).toMatchObject({
    betaFast: 8,
    betaSlow: 1,
    originalMaxPositions: 4096,
  });
});

test.each<[string, 'llama' | 'qwen2' | 'mistral' | 'gpt2', Json, RegExp]>([
  ['dynamic rope', 'llama', { rope_scaling: { rope_type: 'dynamic', factor: 2 } }, /"dynamic" is not supported/],
  ['long rope', 'llama', { rope_parameters: { rope_type: 'longrope' } }, /"longrope" is not supported/],
  ['linear without a factor', 'llama', { rope_scaling: { type: 'linear' } }, /needs factor/],
  ['a factor of zero', 'llama', { rope_scaling: { type: 'linear', factor: 0 } }, /factor/],
  ['yarn without truncation', 'llama', { rope_scaling: { type: 'yarn', factor: 2, truncate: false } }, /truncate/],
  ['partial rotation', 'llama', { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
  ['rope by layer type', 'llama', { rope_parameters: { full_attention: {} } }, /different layers/],
  ['a window in use', 'mistral', { sliding_window: 1024 }, /sliding window of 1024/],
  ['the window Mistral means by default', 'mistral', { max_position_embeddings: 32768 }, /sliding window of 4096/],
  ["Qwen's window in use", 'qwen2', { use_sliding_window: true, sliding_window: 1024 }, /sliding window/],
  ['a windowed layer', 'qwen2', { sliding_window: 8, layer_types: ['full_attention', 'sliding_attention'] }, /sliding/],
  ['another activation', 'llama', { hidden_act: 'gelu' }, /hidden_act/],
  ['biases everywhere', 'llama', { attention_bias: true }, /attention_bias/],
  ['heads that do not share evenly', 'llama', { num_key_value_heads: 3 }, /evenly/],
  ['an odd head', 'llama', { head_dim: 15 }, /even/],
  ['a huge size', 'llama', { hidden_size: 2 ** 40 }, /hidden_size/],
  ['half a layer', 'llama', { num_hidden_layers: 1.5 }, /num_hidden_layers/],
  ['a size in words', 'llama', { vocab_size: '100' }, /vocab_size/],
  ['exact GELU', 'gpt2', { activation_function: 'gelu' }, /activation_function/],
  ['layer-scaled attention', 'gpt2', { scale_attn_by_inverse_layer_idx: true }, /attention/],
])('%s in %s is refused', (_what, type, changes, message) => {
  const json = { ...(type === 'gpt2' ? gpt2 : llama), ...changes };
  expect(() => parseDecoderConfig(json, type)).toThrow(message);
});

test('windows that are off or wider than the positions change nothing', () => {
  for (const sliding_window of [null, 4096]) {
    expect(parseDecoderConfig({ ...llama, sliding_window }, 'mistral')).toEqual(parseDecoderConfig(llama, 'llama'));
  }
  const off = { use_sliding_window: false, sliding_window: 8, layer_types: ['full_attention', 'full_attention'] };
  expect(parseDecoderConfig({ ...llama, ...off }, 'qwen2')).toEqual(parseDecoderConfig(llama, 'qwen2'));
  const older = { use_sliding_window: false, sliding_window: 8 };
  expect(parseDecoderConfig({ ...llama, ...older }, 'qwen2')).toEqual(parseDecoderConfig(llama, 'qwen2'));
});

test('RoBERTa keeps positions for its padding, the tightest token limit wins', () => {
  expect(parseEncoderConfig({ ...bert, pad_token_id: 1 }, 'roberta', plain)).toMatchObject({
    maxTokens: 512,
    padId: 1,
  });
  expect(parseEncoderConfig(bert, 'bert', plain)).toMatchObject({ maxTokens: 514, padId: 0, tokenTypes: 2 });
  expect(parseEncoderConfig(bert, 'bert', { ...plain, tokenLimit: 256 }).maxTokens).toBe(256);
  expect(parseEncoderConfig(bert, 'bert', { ...plain, tokenLimit: 1e30 }).maxTokens).toBe(514);
  expect(parseEncoderConfig(distilbert, 'distilbert', plain)).toMatchObject({ tokenTypes: 0, normEpsilon: 1e-12 });
});

test('labels stand in output order, and say how logits become probabilities', () => {
  const id2label = { '1': 'unsafe', '0': 'safe' };
  const two = { labelCount: 2, tokenLimit: undefined };
  expect(parseEncoderConfig({ ...bert, id2label }, 'bert', two)).toMatchObject({
    labels: ['safe', 'unsafe'],
    problem: 'single-label',
  });
  const multi = { ...bert, id2label, problem_type: 'multi_label_classification' };
  expect(parseEncoderConfig(multi, 'bert', two).problem).toBe('multi-label');
  expect(parseEncoderConfig(bert, 'bert', { ...two, labelCount: 1 })).toMatchObject({
    labels: ['LABEL_0'],
    problem: 'multi-label',
  });
  expect(parseEncoderConfig({ ...bert, id2label }, 'bert', plain).labels).toEqual([]);
  for (const labelCount of [1, 3]) {
    expect(() => parseEncoderConfig({ ...bert, id2label }, 'bert', { ...two, labelCount })).toThrow(/id2label/);
  }
  expect(() => parseEncoderConfig({ ...bert, problem_type: 'regression' }, 'bert', two)).toThrow(/regression/);
});

test.each<[string, Json, RegExp]>([
  ['relative positions', { position_embedding_type: 'relative_key' }, /position_embedding_type/],
  ['a decoder', { is_decoder: true }, /is_decoder/],
  ['another activation', { hidden_act: 'relu' }, /activation/],
  ['uneven heads', { num_attention_heads: 5 }, /heads/],
])('an encoder with %s is refused', (_what, changes, message) => {
  expect(() => parseEncoderConfig({ ...bert, ...changes }, 'bert', plain)).toThrow(message);
});

test('a config of any content is parsed or refused as a format error', async () => {
  const names = ['gpt2', 'llama-llama3', 'llama-yarn', 'qwen2', 'qwen3', 'bert-classifier', 'distilbert-classifier'];
  const configs = await Promise.all(
    names.map(
      async (name) => JSON.parse(await readFile(testPath('fixtures', 'models', name, 'config.json'), 'utf8')) as Json,
    ),
  );
  const change = fc
    .constantFrom(...configs)
    .chain((config) =>
      fc.tuple(fc.constant(config), fc.constantFrom(...Object.keys(config)), fc.jsonValue({ maxDepth: 2 })),
    );
  fc.assert(
    fc.property(change, ([config, key, value]) => {
      const type = String(config.model_type);
      const json = key === 'model_type' ? value : { ...config, [key]: value };
      try {
        if (isDecoderType(type)) parseDecoderConfig(json, type);
        else if (isEncoderType(type)) parseEncoderConfig(json, type, { labelCount: 3, tokenLimit: undefined });
        else throw new Error(`fixture of unknown type ${type}`);
      } catch (error) {
        if (!(error instanceof FloodgateError)) throw error;
        expect(error.code).toBe('format');
      }
    }),
    { numRuns: 2000 },
  );
});
