import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { readSafetensors, writeSafetensors } from '../../src/models/formats/safetensors.ts';
import { testPath } from '../support/golden-file.ts';

let folder: string;
let cacheDir: string;
let model: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-open-'));
  cacheDir = join(folder, 'cache');
  model = join(folder, 'model');
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function copyFixture(name: string): Promise<void> {
  await cp(testPath('fixtures', 'models', name), model, { recursive: true });
}

async function patchJson(name: string, changes: Record<string, unknown>): Promise<void> {
  const path = join(model, name);
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), ...changes }));
}

/** Rewrites the copied fixture's weights. */
async function patchWeights(change: (tensors: Awaited<ReturnType<typeof readSafetensors>>['tensors']) => void) {
  const path = join(model, 'model.safetensors');
  const { tensors, metadata } = await readSafetensors(path);
  change(tensors);
  await writeSafetensors(path, tensors, metadata);
}

test.each([
  ['gpt2', 'wte.weight', 'transformer.wte.weight'],
  ['gpt2-hub', 'h.1.mlp.c_proj.bias', 'h.1.mlp.c_proj.bias'],
  ['llama-tied', 'model.layers.1.self_attn.q_proj.weight', 'model.layers.1.self_attn.q_proj.weight'],
  ['bert-classifier', 'encoder.layer.0.output.LayerNorm.bias', 'bert.encoder.layer.0.output.LayerNorm.bias'],
  ['roberta-classifier', 'classifier.out_proj.weight', 'classifier.out_proj.weight'],
  [
    'distilbert-classifier',
    'encoder.layer.1.attention.self.key.weight',
    'distilbert.transformer.layer.1.attention.k_lin.weight',
  ],
])('%s opens, its tensors under one naming', async (name, normalised, original) => {
  const path = testPath('fixtures', 'models', name);
  const checkpoint = await openCheckpoint(path, { cacheDir, spec: name });
  expect(checkpoint.spec).toBe(name);
  const entry = checkpoint.weights.tensors.get(normalised);
  const expected = (await readSafetensors(join(path, 'model.safetensors'))).tensors.get(original);
  expect(entry?.shape).toEqual(expected?.shape);
  const bytes = await readFile(checkpoint.weights.path);
  expect(bytes.readFloatLE(entry?.offset)).toBe(expected?.data[0]);
});

test('a wheel-like folder with one GGUF file and no config opens as that file', async () => {
  await copyFixture('llama-untied');
  await rm(join(model, 'config.json'));
  await cp(testPath('golden', 'formats', 'llama.gguf'), join(model, 'a.gguf'));
  // The golden file has no tokenizer: that it is what is missed shows that the rest was opened.
  await expect(openCheckpoint(model, { cacheDir })).rejects.toThrow(/tokenizer/);
  await cp(testPath('golden', 'formats', 'llama.gguf'), join(model, 'b.gguf'));
  await expect(openCheckpoint(model, { cacheDir })).rejects.toMatchObject({ code: 'source', hint: /a\.gguf, b\.gguf/ });
});

test('what is not there, or is no model, is said', async () => {
  await expect(openCheckpoint(join(folder, 'nowhere'), { cacheDir })).rejects.toMatchObject({ code: 'source' });
  await expect(openCheckpoint(folder, { cacheDir })).rejects.toThrow(/neither a config\.json nor a GGUF/);
  await writeFile(join(folder, 'x.bin'), 'GG');
  await expect(openCheckpoint(join(folder, 'x.bin'), { cacheDir })).rejects.toMatchObject({ code: 'format' });
  await copyFixture('gpt2');
  await rm(join(model, 'model.safetensors'));
  await expect(openCheckpoint(model, { cacheDir })).rejects.toMatchObject({ code: 'format', hint: /pickled/ });
});

test('a model of another family is refused by name', async () => {
  await copyFixture('gpt2');
  await patchJson('config.json', { model_type: 'mamba' });
  await expect(openCheckpoint(model, { cacheDir })).rejects.toThrow(/"mamba" is not supported/);
});

test('a tensor that is missing, of another shape or unknown is refused', async () => {
  await copyFixture('llama-tied');
  await patchJson('config.json', { intermediate_size: 25 });
  await expect(openCheckpoint(model, { cacheDir })).rejects.toThrow(/mlp\.gate_proj\.weight has shape \[24,16\]/);
  await patchJson('config.json', { intermediate_size: 24, num_hidden_layers: 2 ** 24 });
  await expect(openCheckpoint(model, { cacheDir })).rejects.toThrow(/layers\.2\.input_layernorm\.weight is missing/);
  await patchJson('config.json', { num_hidden_layers: 2 });
  await patchWeights((tensors) =>
    tensors.set('model.layers.0.self_attn.o_proj.bias', { shape: [16], data: new Float32Array(16) }),
  );
  await expect(openCheckpoint(model, { cacheDir })).rejects.toThrow(/o_proj\.bias is not part of the model/);
});

test('a tied head that was saved all the same is left out; names without their prefix are understood', async () => {
  await copyFixture('llama-tied');
  await patchWeights((tensors) => {
    for (const [name, tensor] of [...tensors]) {
      tensors.delete(name);
      tensors.set(name.replace(/^model\./, ''), tensor);
    }
    tensors.set('lm_head.weight', { shape: [40, 16], data: new Float32Array(640) });
  });
  const { weights } = await openCheckpoint(model, { cacheDir });
  expect(weights.tensors.has('lm_head.weight')).toBe(false);
  expect(weights.tensors.has('model.norm.weight')).toBe(true);
});

test("TensorFlow's names of a LayerNorm are understood", async () => {
  await copyFixture('bert-encoder');
  await patchWeights((tensors) => {
    for (const [name, tensor] of [...tensors]) {
      if (!name.includes('LayerNorm')) continue;
      tensors.delete(name);
      tensors.set(name.replace(/weight$/, 'gamma').replace(/bias$/, 'beta'), tensor);
    }
  });
  expect((await openCheckpoint(model, { cacheDir })).weights.tensors.has('embeddings.LayerNorm.bias')).toBe(true);
});

test('a sentence encoder with its own limit keeps it; one with another pooling is refused', async () => {
  await copyFixture('bert-encoder');
  await writeFile(join(model, 'sentence_bert_config.json'), '{"max_seq_length": 20}');
  expect(await openCheckpoint(model, { cacheDir })).toMatchObject({ kind: 'encoder', config: { maxTokens: 20 } });
  await mkdir(join(model, '1_Pooling'));
  await writeFile(join(model, '1_Pooling', 'config.json'), '{"pooling_mode_mean_tokens": false}');
  await expect(openCheckpoint(model, { cacheDir })).rejects.toThrow(/pooling/);
});

test('a tokenizer with more tokens than the model has embeddings is refused', async () => {
  await copyFixture('llama-tied');
  await patchJson('config.json', { vocab_size: 39 });
  await patchWeights((tensors) => {
    const embedding = tensors.get('model.embed_tokens.weight');
    if (embedding === undefined) throw new Error('fixture has no embedding');
    tensors.set('model.embed_tokens.weight', { shape: [39, 16], data: embedding.data.slice(0, 39 * 16) });
  });
  await expect(openCheckpoint(model, { cacheDir })).rejects.toThrow(/tokenizer has 40 tokens, but the model only 39/);
});

test.each([[2 ** 53 - 1, 0], [10_001, 0], [0, 32], [3]])(
  'a classification head of shape [%s, %s] is refused at once',
  async (...shape) => {
    await copyFixture('bert-classifier');
    const values = shape.reduce((product, size) => product * size, 1);
    await patchWeights((tensors) => tensors.set('classifier.weight', { shape, data: new Float32Array(values) }));
    await expect(openCheckpoint(model, { cacheDir })).rejects.toMatchObject({
      code: 'format',
      message: expect.stringMatching(/classifier\.weight/),
    });
  },
);

test('a config.json that gives a field twice is refused: another reader might take the other one', async () => {
  await copyFixture('llama-tied');
  const path = join(model, 'config.json');
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace('{', '{"rms_norm_eps": 0.5,'));
  await expect(openCheckpoint(model, { cacheDir })).rejects.toMatchObject({
    code: 'format',
    message: expect.stringMatching(/"rms_norm_eps" occurs twice/),
  });
});
