import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { type DecoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { parseDecoderConfig } from '../../src/models/checkpoint/decoder-config.ts';
import { parseGgufConfig } from '../../src/models/checkpoint/gguf-config.ts';
import { ggufToHuggingFaceName } from '../../src/models/checkpoint/gguf-weights.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { buildDecodeGraph } from '../../src/models/decoder/inference-graphs.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { ggmlType } from '../../src/models/formats/dequantize.ts';
import type { GgufFile, GgufValue } from '../../src/models/formats/gguf.ts';
import { testPath } from '../support/golden-file.ts';

const compute = { device: 'cpu', threads: 1 } as const;
const bans = { always: [0], end: [1] };
let cacheDir: string;
let checkpoint: DecoderCheckpoint;

beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-gemma3-'));
  const opened = await openCheckpoint(testPath('fixtures', 'models', 'gemma3'), { cacheDir });
  if (opened.kind !== 'decoder') throw new TypeError('the fixture is a decoder');
  checkpoint = opened;
});
afterAll(async () => {
  await rm(cacheDir, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

const tokens = (count: number, seed: number): number[] => {
  const stream = randomStream(seed, 'tokens');
  return Array.from({ length: count }, () => 4 + Math.floor(stream.nextFloat() * 36));
};

test.each([
  ['inside the shared prompt', 20, 2],
  ['inside the own tokens', 0, 14],
  ['at the border between both', 5, 3],
])('cached decoding equals the full forward where the window begins %s', async (_name, shared, own) => {
  const { config, weights } = checkpoint;
  const options = { config, weights, contextTokens: 48, bans };
  const generator = await openGenerator({ ...options, withLogProbs: true }, compute);
  const scorer = await openScorer(options, compute);
  await using _ = {
    [Symbol.asyncDispose]: async () => {
      await generator.close();
      await scorer.close();
    },
  };
  const prefix = tokens(shared, 1);
  const prompts = [2, 3, 4].map((seed) => [...prefix, ...tokens(own + seed, seed)]); // of three lengths
  const generated = await generator.generate({
    prompts,
    requests: [0, 1, 2, 0].map((prompt, i) => ({ prompt, stream: randomStream(3, i), temperature: 1 })),
    minNewTokens: 18,
    maxNewTokens: 18,
    topK: 0,
    topP: 1,
  });
  for (const [i, prompt] of [0, 1, 2, 0].entries()) {
    const { tokens: row, logProbs } = generated[i] as (typeof generated)[number];
    expect(row.length).toBe(18); // more than twice the window of 8
    const [scored] = await scorer.score({ prompt: prompts[prompt] as number[], rows: [row] }, 18);
    for (const [t, logProb] of logProbs.entries())
      expect(Math.abs(logProb - (scored?.[t] ?? Number.NaN))).toBeLessThan(1e-4);
  }
});

test('a context that the window covers needs no window, and gives the same log-probs', async () => {
  const { config, weights } = checkpoint;
  const inputsOf = (contextTokens: number) =>
    buildDecodeGraph({ config, weights, contextTokens }).inputs.map(({ name }) => name);
  expect(inputsOf(9).filter((name) => name.startsWith('local'))).toEqual(['localPrefixMask', 'localPastMask']);
  expect(inputsOf(8).filter((name) => name.startsWith('local'))).toEqual([]);
  const batch = { prompt: tokens(3, 5), rows: [tokens(5, 6)] };
  const scores: number[][] = [];
  for (const contextTokens of [8, 48]) {
    await using scorer = await openScorer({ config, weights, contextTokens, bans }, compute).then((opened) =>
      Object.assign(opened, { [Symbol.asyncDispose]: () => opened.close() }),
    );
    scores.push([...((await scorer.score(batch, 0))[0] as Float32Array)]);
  }
  for (const [t, score] of (scores[0] as number[]).entries()) expect(score).toBeCloseTo(scores[1]?.[t] as number, 5);
});

const hub = {
  model_type: 'gemma3_text',
  vocab_size: 262144,
  hidden_size: 640,
  intermediate_size: 2048,
  num_hidden_layers: 18,
  num_attention_heads: 4,
  num_key_value_heads: 1,
  head_dim: 256,
  max_position_embeddings: 32768,
  query_pre_attn_scalar: 256,
  sliding_window: 512,
  rope_theta: 1_000_000,
  rope_local_base_freq: 10_000,
};

test('the published config means a global layer in six, both rotations and a tied head', () => {
  const config = parseDecoderConfig(hub, 'gemma3_text');
  expect(config).toMatchObject({
    family: 'gemma3',
    globalEvery: 6,
    slidingWindow: 512,
    queryScalar: 256,
    ropeBase: 1_000_000,
    ropeScaling: { kind: 'none' },
    localRotation: { ropeBase: 10_000, ropeScaling: { kind: 'none' } },
    tiedEmbeddings: true,
    normEpsilon: 1e-6,
  });
  const [local, global] = ['sliding_attention', 'full_attention'];
  const types = Array.from({ length: 18 }, (_, layer) => (layer % 6 === 5 ? global : local));
  expect(parseDecoderConfig({ ...hub, layer_types: types }, 'gemma3_text')).toEqual(config);
  const five = { ...hub, num_hidden_layers: 5 };
  expect(parseDecoderConfig({ ...five, layer_types: types.slice(0, 5) }, 'gemma3_text')).toEqual(
    parseDecoderConfig(five, 'gemma3_text'), // cut before its first global layer
  );
});

test.each<[string, Record<string, unknown>, RegExp]>([
  ['exact GELU', { hidden_activation: 'gelu' }, /hidden_activation/],
  ['biases', { attention_bias: true }, /attention_bias/],
  ['capped logits', { final_logit_softcapping: 30 }, /soft-capped/],
  ['capped scores', { attn_logit_softcapping: 50 }, /soft-capped/],
  ['attention to later tokens', { use_bidirectional_attention: true }, /bidirectional/],
  ['too few layer types', { layer_types: ['full_attention'] }, /layer_types/],
  ['layer types without order', { num_hidden_layers: 2, layer_types: ['full_attention', 'x'] }, /layer_types/],
  ['one rotation for all', { rope_parameters: { rope_type: 'linear', factor: 8 } }, /full_attention/],
  ['a base of zero', { rope_local_base_freq: 0 }, /rope_local_base_freq/],
  ['a divisor of zero', { query_pre_attn_scalar: 0 }, /query_pre_attn_scalar/],
  ['no window', { sliding_window: 0 }, /sliding_window/],
  ['heads that do not share evenly', { num_key_value_heads: 3 }, /evenly/],
])('%s is refused', (_name, changes, message) => {
  expect(() => parseDecoderConfig({ ...hub, ...changes }, 'gemma3_text')).toThrow(message);
});

/** The header of the published 270M GGUF file, with `changes` to its metadata. */
function ggufHeader(changes: Record<string, GgufValue> = {}): GgufFile {
  const metadata = new Map<string, GgufValue>(
    Object.entries({
      'general.architecture': 'gemma3',
      'gemma3.context_length': 32768,
      'gemma3.embedding_length': 640,
      'gemma3.block_count': 18,
      'gemma3.feed_forward_length': 2048,
      'gemma3.attention.head_count': 4,
      'gemma3.attention.head_count_kv': 1,
      'gemma3.attention.layer_norm_rms_epsilon': 1e-6,
      'gemma3.attention.key_length': 256,
      'gemma3.attention.value_length': 256,
      'gemma3.rope.freq_base': 1_000_000,
      'gemma3.attention.sliding_window': 512,
      ...changes,
    }),
  );
  const embedding = {
    name: 'token_embd.weight',
    shape: [262144, 640],
    type: ggmlType('Q8_0'),
    offset: 0,
    byteLength: 0,
  };
  return { version: 3, metadata, tensors: new Map([[embedding.name, embedding]]) };
}

test('the GGUF header means the same model as the published config', () => {
  expect(parseGgufConfig(ggufHeader())).toEqual(parseDecoderConfig(hub, 'gemma3_text'));
  expect(
    parseGgufConfig(
      ggufHeader({
        'gemma3.attention.sliding_window_pattern': 3,
        'gemma3.rope.freq_base_swa': 20_000,
        'gemma3.rope.scaling.type': 'linear',
        'gemma3.rope.scaling.factor': 8,
      }),
    ),
  ).toMatchObject({
    globalEvery: 3,
    ropeScaling: { kind: 'linear', factor: 8 },
    localRotation: { ropeBase: 20_000, ropeScaling: { kind: 'none' } },
  });
  // 27B, whose scale no file states: 5376 / 32
  const large = { 'gemma3.block_count': 62, 'gemma3.attention.head_count': 32, 'gemma3.attention.head_count_kv': 16 };
  expect(parseGgufConfig(ggufHeader(large))).toMatchObject({ queryScalar: 640 / 32 });
  expect(() => parseGgufConfig(ggufHeader({ 'gemma3.attention.sliding_window': 0 }))).toThrow(/sliding_window is 0/);
  expect(() => parseGgufConfig(ggufHeader({ 'gemma3.final_logit_softcapping': 30 }))).toThrow(/soft-capped/);
});

test('its norms have their own names in a GGUF file', () => {
  const nameOf = (name: string) => ggufToHuggingFaceName(`blk.3.${name}.weight`, 'gemma3');
  expect(['attn_norm', 'post_attention_norm', 'ffn_norm', 'post_ffw_norm', 'attn_q_norm'].map(nameOf)).toEqual(
    ['input_layernorm', 'post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm']
      .concat('self_attn.q_norm')
      .map((name) => `model.layers.3.${name}.weight`),
  );
});
