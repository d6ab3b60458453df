import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentProgress } from '../../src/base/progress.ts';
import { openFolder } from '../../src/models/checkpoint/folder-checkpoint.ts';
import { openGguf } from '../../src/models/checkpoint/gguf-checkpoint.ts';
import { parseGgufConfig } from '../../src/models/checkpoint/gguf-config.ts';
import { ggufToHuggingFaceName } from '../../src/models/checkpoint/gguf-weights.ts';
import { llama3FrequencyDivisors, recoverLlama3Scaling } from '../../src/models/checkpoint/rope-scaling.ts';
import { readGguf } from '../../src/models/formats/gguf.ts';
import { readSafetensors } from '../../src/models/formats/safetensors.ts';
import { type GoldenTensor, goldenFloat32, readGolden, testPath } from '../support/golden-file.ts';

let cacheDir: string;

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'floodgate-gguf-checkpoint-'));
});
afterEach(async () => {
  await rm(cacheDir, { recursive: true });
});

const ggufPath = (name: string): string => testPath('golden', 'formats', `${name}.gguf`);

/** A GGUF file as bytes, with one metadata value of 4 bytes overwritten. */
async function withPatchedValue(
  name: string,
  key: string,
  patch: (bytes: Buffer, at: number) => void,
): Promise<string> {
  const bytes = await readFile(ggufPath(name));
  const at = bytes.indexOf(key);
  if (at < 0) throw new Error(`${name}.gguf has no ${key}`);
  patch(bytes, at + key.length + 4);
  const path = join(cacheDir, 'patched.gguf');
  await writeFile(path, bytes);
  return path;
}

test.each([
  ['llama', 'llama-untied'],
  ['qwen2', 'qwen2'],
  ['qwen3', 'qwen3'],
  ['gpt2', 'gpt2'],
])(
  'a %s GGUF opens as the model it was converted from: same config, same tensors bit for bit',
  async (name, fixture) => {
    const options = { cacheDir, progress: silentProgress };
    const gguf = await openGguf(ggufPath(name), options);
    const folder = await openFolder(testPath('fixtures', 'models', fixture), options);
    // GGUF keeps its numbers as fp32.
    expect(gguf.config).toEqual({ ...folder.config, normEpsilon: Math.fround(folder.config.normEpsilon) });
    expect([...gguf.weights.tensors.keys()].sort()).toEqual([...folder.weights.tensors.keys()].sort());
    const converted = await readSafetensors(gguf.weights.path);
    const original = await readFile(folder.weights.path);
    for (const [tensor, { shape, offset, byteLength }] of folder.weights.tensors) {
      const found = converted.tensors.get(tensor);
      expect([tensor, found?.shape]).toEqual([tensor, shape]);
      const bytes = new Uint8Array(found?.data.buffer ?? new ArrayBuffer(0), found?.data.byteOffset, byteLength);
      expect(Buffer.compare(bytes, original.subarray(offset, offset + byteLength)), tensor).toBe(0);
    }
  },
);

test("Llama 3's scaling is recovered from its divisors, and other divisors are refused", async () => {
  const golden = await readGolden<{ ropeBase: number; factor: number; divisors: GoldenTensor }>('formats', 'rope');
  const divisors = goldenFloat32(golden.divisors);
  expect(recoverLlama3Scaling(divisors, golden.ropeBase)).toEqual({
    kind: 'llama3',
    factor: golden.factor,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalMaxPositions: 8192,
  });
  expect(recoverLlama3Scaling(new Float32Array(32).fill(1), golden.ropeBase)).toEqual({ kind: 'none' });
  divisors[16] = (divisors[16] as number) * 1.01;
  expect(() => recoverLlama3Scaling(divisors, golden.ropeBase)).toThrow(/not the factors/);
});

test('a head that repeats the embedding is tied, one that differs is not', async () => {
  const bytes = await readFile(ggufPath('llama'));
  const { tensors } = await readGguf(ggufPath('llama'));
  const [head, embedding] = [tensors.get('output.weight'), tensors.get('token_embd.weight')];
  if (head === undefined || embedding === undefined) throw new Error('llama.gguf has no head');
  bytes.copy(bytes, head.offset, embedding.offset, embedding.offset + embedding.byteLength);
  const path = join(cacheDir, 'tied.gguf');
  await writeFile(path, bytes);
  const options = { cacheDir, progress: silentProgress };
  const tied = await openGguf(path, options);
  expect(tied.config.tiedEmbeddings).toBe(true);
  expect(tied.weights.tensors.has('lm_head.weight')).toBe(false);
  expect((await openGguf(ggufPath('llama'), options)).config.tiedEmbeddings).toBe(false);
});

test.each<[string, string, (bytes: Buffer, at: number) => void, RegExp]>([
  ['no heads', 'llama.attention.head_count', (bytes, at) => bytes.writeUInt32LE(0, at), /head_count is 0/],
  ['too many layers', 'llama.block_count', (bytes, at) => bytes.writeUInt32LE(2 ** 31, at), /block_count/],
  ['a layer too many', 'llama.block_count', (bytes, at) => bytes.writeUInt32LE(3, at), /layers\.2.* is missing/],
  ['a layer too few', 'llama.block_count', (bytes, at) => bytes.writeUInt32LE(1, at), /layers\.1.* is not part/],
  ['heads that do not fit', 'llama.attention.head_count', (bytes, at) => bytes.writeUInt32LE(8, at), /rows|shape/],
  ['a NaN epsilon', 'layer_norm_rms_epsilon', (bytes, at) => bytes.writeFloatLE(Number.NaN, at), /expected a number/],
  [
    'another architecture',
    'general.architecture',
    (bytes, at) => bytes.write('mamba', at + 8),
    /architecture is "mamba"/,
  ],
])('a file that claims %s is refused', async (_what, key, patch, message) => {
  const path = await withPatchedValue('llama', key, patch);
  const opening = openGguf(path, { cacheDir, progress: silentProgress });
  await expect(opening).rejects.toMatchObject({ code: 'format', message: expect.stringMatching(message) });
});

test.each<[string, string, string | number, RegExp]>([
  ['a mixture of experts', 'llama.expert_count', 8, /experts/],
  ['a sliding window in use', 'llama.attention.sliding_window', 32, /sliding window/],
  ['partly rotated heads', 'llama.rope.dimension_count', 2, /dimension_count/],
  ['long rope', 'llama.rope.scaling.type', 'longrope', /"longrope" is not supported/],
  ['key and value heads of two widths', 'llama.attention.value_length', 8, /different widths/],
])('%s is refused: it is not built', async (_what, key, value, message) => {
  const file = await readGguf(ggufPath('llama'));
  expect(() => parseGgufConfig({ ...file, metadata: new Map(file.metadata).set(key, value) })).toThrow(message);
});

const linear = { 'rope.scaling.type': 'linear' };
const yarn = { 'rope.scaling.type': 'yarn', 'rope.scaling.factor': 4 };

test.each<[string, string, Record<string, string | number>, RegExp]>([
  ['a negative epsilon', 'llama', { 'attention.layer_norm_rms_epsilon': -1 }, /layer_norm_rms_epsilon is -1/],
  ['an epsilon of zero', 'llama', { 'attention.layer_norm_rms_epsilon': 0 }, /layer_norm_rms_epsilon is 0/],
  ['a huge epsilon', 'llama', { 'attention.layer_norm_rms_epsilon': 1000 }, /layer_norm_rms_epsilon is 1000/],
  ['a negative epsilon', 'gpt2', { 'attention.layer_norm_epsilon': -1000 }, /layer_norm_epsilon is -1000/],
  ['a rope base of zero', 'llama', { 'rope.freq_base': 0 }, /freq_base is 0/],
  ['a negative rope base', 'llama', { 'rope.freq_base': -5 }, /freq_base is -5/],
  ['a linear factor of zero', 'llama', { ...linear, 'rope.scaling.factor': 0 }, /factor is 0/],
  ['an old linear factor below zero', 'llama', { 'rope.scale_linear': -2 }, /scale_linear is -2/],
  ['a negative YaRN factor', 'llama', { ...yarn, 'rope.scaling.factor': -1 }, /factor is -1/],
  ['a negative YaRN attention factor', 'llama', { ...yarn, 'rope.scaling.attn_factor': -1 }, /attn_factor is -1/],
  ['a YaRN beta of zero', 'llama', { ...yarn, 'rope.scaling.yarn_beta_fast': 0 }, /yarn_beta_fast is 0/],
  [
    'an odd head',
    'llama',
    { 'attention.key_length': 15, 'rope.dimension_count': 15 },
    /head width is 15, expected an even/,
  ],
  ['heads wider than the model', 'gpt2', { 'attention.key_length': 64 }, /head/],
  ['heads that do not share evenly', 'llama', { 'attention.head_count_kv': 3 }, /evenly/],
  ['less than no experts', 'llama', { expert_count: -1 }, /expert_count is -1/],
])('%s in %s is refused, as in a config.json', async (_what, name, changes, message) => {
  const file = await readGguf(ggufPath(name));
  const metadata = new Map(file.metadata);
  for (const [key, value] of Object.entries(changes)) metadata.set(`${name}.${key}`, value);
  const parse = () => parseGgufConfig({ ...file, metadata });
  expect(parse).toThrow(message);
  expect(parse).toThrow(expect.objectContaining({ code: 'format' }));
});

test.each<[string, string]>([
  ['general.architecture', 'general.architecture'],
  ['a rope scaling', 'llama.rope.scaling.type'],
  ['a number of layers', 'llama.block_count'],
])(
  '%s that is a 64-bit integer beyond the exact numbers, or a long text, is a short format error',
  async (_what, key) => {
    const file = await readGguf(ggufPath('llama'));
    for (const value of [2n ** 63n, 'x'.repeat(1_000_000), [[1n]]]) {
      const parse = () => parseGgufConfig({ ...file, metadata: new Map(file.metadata).set(key, value) });
      expect(parse).toThrow(expect.objectContaining({ code: 'format', message: expect.stringMatching(/^.{1,400}$/) }));
    }
  },
);

test.each([0, -2])("Llama 3's divisors that end in %s are refused", async (factor) => {
  const golden = await readGolden<{ ropeBase: number }>('formats', 'rope');
  const scaling = { kind: 'llama3', factor, lowFrequencyFactor: 1, highFrequencyFactor: 4 } as const;
  const divisors = llama3FrequencyDivisors({ ...scaling, originalMaxPositions: 8192 }, golden.ropeBase, 64);
  expect(() => recoverLlama3Scaling(Float32Array.from(divisors), golden.ropeBase)).toThrow(/not the factors/);
});

test('divisors of another number of frequencies than the head has are refused', async () => {
  const file = await readGguf(ggufPath('llama'));
  expect(() => parseGgufConfig(file, new Float32Array(3).fill(1))).toThrow(/rope_freqs\.weight has 3 values/);
});

test('linear and YaRN scaling are read from the metadata', async () => {
  const file = await readGguf(ggufPath('llama'));
  const scalingOf = (entries: Record<string, string | number>) => {
    const config = parseGgufConfig({ ...file, metadata: new Map([...file.metadata, ...Object.entries(entries)]) });
    return config.family === 'llama' ? config.ropeScaling : undefined;
  };
  expect(scalingOf({ 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 4 })).toEqual({
    kind: 'linear',
    factor: 4,
  });
  expect(scalingOf({ 'llama.rope.scale_linear': 2 })).toEqual({ kind: 'linear', factor: 2 });
  const yarn = { 'llama.rope.scaling.type': 'yarn', 'llama.rope.scaling.factor': 4 };
  expect(scalingOf({ ...yarn, 'llama.rope.scaling.original_context_length': 16 })).toEqual({
    kind: 'yarn',
    factor: 4,
    originalMaxPositions: 16,
    betaFast: 32,
    betaSlow: 1,
    attentionFactor: 0.1 * Math.log(4) + 1,
  });
});

test('names that no architecture has are not mapped', () => {
  for (const name of ['blk.0.constructor.weight', 'toString.weight', 'blk.-1.attn_q.weight', 'blk.0.ssm_a', '']) {
    expect(ggufToHuggingFaceName(name, 'llama')).toBeUndefined();
  }
});
