import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { silentProgress } from '../../../src/base/progress.ts';
import type { RandomStream } from '../../../src/base/random.ts';
import { openFolder } from '../../../src/models/checkpoint/folder-checkpoint.ts';
import { mutateBytes } from '../byte-mutation.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { mutateJson } from '../json-mutation.ts';

const MODELS: readonly string[] = [
  'gpt2',
  'llama-tied',
  'llama-untied',
  'llama-llama3',
  'llama-yarn',
  'qwen2',
  'qwen3',
  'gemma3',
  'bert-classifier',
  'bert-encoder',
  'roberta-classifier',
  'distilbert-classifier',
];

/** Values that a reader of sizes, factors and names does not expect. */
const HOSTILE: readonly unknown[] = [
  0,
  1,
  3,
  -1,
  0.5,
  1e-320,
  1e300,
  2 ** 24,
  2 ** 31,
  2 ** 53,
  null,
  true,
  '',
  'gelu',
  'mamba',
  'linear',
  'yarn',
  'llama3',
  'multi_label_classification',
  '__proto__',
  'x'.repeat(5_000),
  [],
  ['sliding_attention'],
  {},
  { type: 'yarn', factor: 0 },
  { rope_type: 'linear', factor: 1e300 },
  { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 4, original_max_position_embeddings: 16 },
  { 0: 'safe', 1: 'unsafe' },
  { 1: 'safe', 2: 'unsafe' },
];

/** Fields that the config of a fixture may not have. */
const FIELDS: readonly string[] = [
  'model_type',
  'head_dim',
  'hidden_size',
  'vocab_size',
  'num_hidden_layers',
  'num_attention_heads',
  'num_key_value_heads',
  'intermediate_size',
  'max_position_embeddings',
  'rope_scaling',
  'rope_parameters',
  'rope_theta',
  'tie_word_embeddings',
  'sliding_window',
  'use_sliding_window',
  'layer_types',
  'id2label',
  'problem_type',
  'pad_token_id',
  'type_vocab_size',
  'hidden_act',
];

/** The config with one to four of its fields replaced, added or removed. */
function changeFields(json: string, stream: RandomStream): string {
  const fields = JSON.parse(json) as Record<string, unknown>;
  for (let left = 1 + stream.nextInt(4); left > 0; left--) {
    const key = pick(stream, stream.nextInt(2) === 0 ? FIELDS : Object.keys(fields));
    if (stream.nextInt(5) === 0) delete fields[key];
    else fields[key] = pick(stream, HOSTILE);
  }
  return JSON.stringify(fields);
}

/** The weights with a shape, name or offset of their header changed; the length stays as it is. */
function changeHeader(file: Buffer, stream: RandomStream): Buffer {
  const length = Number(file.readBigUInt64LE(0));
  const json = file
    .subarray(8, 8 + length)
    .toString('utf8')
    .trimEnd();
  const header = stream.nextInt(2) === 0 ? mutateJson(json, stream) : json.replace(/\[(\d+),(\d+)\]/, '[$2,$1]');
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return Buffer.concat([head, Buffer.from(header), file.subarray(8 + length)]);
}

/** Puts a file of a fixture back into a folder: nothing where the fixture has none. */
function restore(from: string, to: string, file: string): void {
  const [source, target] = [path.join(from, file), path.join(to, file)];
  if (existsSync(source)) copyFileSync(source, target);
  else rmSync(target, { force: true });
}

/** A folder as the fixtures have them, whose config.json, weights' header or further file is hostile. */
export function createModelFolderTarget(root: string): FuzzTarget {
  const folderOf = (name: string): string => path.join(root, 'test/fixtures/models', name);
  const corpus = MODELS.map((name) => ({
    name,
    config: readFileSync(path.join(folderOf(name), 'config.json'), 'utf8'),
    weights: readFileSync(path.join(folderOf(name), 'model.safetensors')),
  }));
  type File = 'config.json' | 'model.safetensors' | 'tokenizer_config.json' | 'sentence_bert_config.json';
  const files: readonly File[] = [
    'config.json',
    'model.safetensors',
    'tokenizer_config.json',
    'sentence_bert_config.json',
  ];
  return {
    name: 'model-folder',
    codes: ['format'],
    baseBytes: 8 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const model = stream.nextInt(corpus.length);
      const { config, weights } = corpus[model] as (typeof corpus)[number];
      const input = (file: File, bytes: Buffer) => ({ bytes, variant: model * files.length + files.indexOf(file) });
      const kind = stream.nextInt(16);
      if (kind < 8) return input('config.json', Buffer.from(changeFields(config, stream)));
      if (kind < 12) return input('config.json', Buffer.from(mutateJson(config, stream)));
      if (kind === 12) return input('config.json', mutateBytes(Buffer.from(config), stream));
      if (kind < 15) return input('model.safetensors', changeHeader(weights, stream));
      const limits = '{"model_max_length": 512, "max_seq_length": 128}';
      return input(pick(stream, files.slice(2)), Buffer.from(mutateJson(limits, stream)));
    },
    parse: async ({ bytes, variant }, folder) => {
      const { name } = corpus[Math.floor(variant / files.length)] as (typeof corpus)[number];
      const file = files[variant % files.length] as File;
      const place = path.join(folder, name);
      const cacheDir = path.join(folder, 'cache');
      if (!existsSync(place)) mkdirSync(place);
      for (const own of files) restore(folderOf(name), place, own);
      writeFileSync(path.join(place, file), bytes);
      try {
        await openFolder(place, { cacheDir, progress: silentProgress });
      } finally {
        rmSync(cacheDir, { recursive: true, force: true });
      }
    },
  };
}
