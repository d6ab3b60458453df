import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { silentProgress } from '../../../src/base/progress.ts';
import type { RandomStream } from '../../../src/base/random.ts';
import { openGguf } from '../../../src/models/checkpoint/gguf-checkpoint.ts';
import { type GgufFile, parseGguf } from '../../../src/models/formats/gguf.ts';
import { tokenizerFromGguf } from '../../../src/models/tokenizer/load-tokenizer.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { type WrittenTensor, type WrittenValue, writeGguf } from '../gguf-writer.ts';

/** Values that a reader of sizes, factors and names does not expect. */
const HOSTILE: readonly WrittenValue[] = [
  0,
  1,
  2,
  3,
  7,
  16,
  255,
  2 ** 24,
  2 ** 31,
  2 ** 32 - 1,
  -1,
  0.5,
  -0.5,
  1e30,
  1e-30,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
  true,
  false,
  '',
  'llama',
  'gpt2',
  'qwen3',
  'gemma3',
  'mamba',
  'linear',
  'yarn',
  'longrope',
  'none',
  '__proto__',
  'constructor',
  '\u0000',
  'x'.repeat(5_000),
  '{{ messages }}',
  '{% for m in messages %}{{ m.content }}{% endfor %}',
  [],
  [1, 2, 3],
  ['a', 'b', 'a'],
  [[1], [2]],
];

/** Keys after the architecture's prefix that files of the fixtures do not have. */
const FURTHER_KEYS: readonly string[] = [
  'rope.scaling.type',
  'rope.scaling.factor',
  'rope.scale_linear',
  'rope.scaling.original_context_length',
  'rope.scaling.attn_factor',
  'rope.scaling.yarn_beta_fast',
  'rope.freq_base',
  'rope.dimension_count',
  'attention.key_length',
  'attention.value_length',
  'attention.sliding_window',
  'expert_count',
  'vocab_size',
];

const TOKENIZER_KEYS: readonly string[] = ['model', 'pre', 'tokens', 'merges', 'scores', 'token_type', 'bos_token_id'];

interface Model {
  readonly architecture: string;
  readonly metadata: readonly (readonly [string, WrittenValue])[];
  readonly tensors: readonly WrittenTensor[];
}

/** A tokenizer of as many tokens as the model has rows: letters, byte characters, then names. */
function tokenizerEntries(rows: number): [string, WrittenValue][] {
  const tokens = Array.from({ length: rows }, (_, id) => (id < 26 ? String.fromCharCode(97 + id) : `<t${id}>`));
  return [
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'gpt-2'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.merges', ['a b']],
    ['tokenizer.ggml.token_type', tokens.map((_, id) => (id < 26 ? 1 : 3))],
    ['tokenizer.ggml.eos_token_id', 27],
    ['tokenizer.chat_template', '{% for m in messages %}{{ m.content }}{% endfor %}'],
  ];
}

function modelOf(bytes: Buffer, file: GgufFile): Model {
  const tensors = [...file.tensors.values()].map(({ name, shape, type, offset, byteLength }): WrittenTensor => {
    const number = { F32: 0, F16: 1, BF16: 30 }[type.name as string] ?? 0;
    return { name, shape, type: number, data: bytes.subarray(offset, offset + byteLength) };
  });
  const metadata = [...file.metadata] as [string, WrittenValue][];
  const rows = file.tensors.get('token_embd.weight')?.shape[0] ?? 0;
  const architecture = String(file.metadata.get('general.architecture'));
  return { architecture, metadata: [...metadata, ...tokenizerEntries(rows)], tensors };
}

/** Replaces or adds an entry. */
function putEntry(metadata: (readonly [string, WrittenValue])[], key: string, value: WrittenValue): void {
  const at = metadata.findIndex(([each]) => each === key);
  metadata.splice(at < 0 ? 0 : at, at < 0 ? 0 : 1, [key, value]);
}

function changeMetadata({ architecture, ...model }: Model, stream: RandomStream): Model {
  const metadata = [...model.metadata];
  const at = stream.nextInt(metadata.length);
  const [key, value] = metadata[at] as readonly [string, WrittenValue];
  switch (stream.nextInt(6)) {
    case 0:
      metadata.splice(at, 1);
      break;
    case 1:
      putEntry(metadata, `${architecture}.${pick(stream, FURTHER_KEYS)}`, pick(stream, HOSTILE));
      break;
    case 2:
      metadata[at] = [key, pick(stream, metadata)[1]];
      break;
    case 3:
      putEntry(metadata, `tokenizer.ggml.${pick(stream, TOKENIZER_KEYS)}`, pick(stream, HOSTILE));
      break;
    default:
      metadata[at] = [key, Array.isArray(value) && stream.nextInt(2) === 0 ? value.slice(1) : pick(stream, HOSTILE)];
  }
  return { ...model, architecture, metadata };
}

function changeTensors({ tensors: before, ...model }: Model, stream: RandomStream): Model {
  const tensors = [...before];
  const at = stream.nextInt(tensors.length);
  const tensor = tensors[at] as WrittenTensor;
  switch (stream.nextInt(6)) {
    case 0:
      tensors.splice(at, 1);
      break;
    case 1:
      tensors[at] = { ...tensor, shape: tensor.shape.toReversed() };
      break;
    case 2:
      tensors[at] = { ...tensor, shape: [...tensor.shape.slice(1), tensor.shape[0] ?? 1, pick(stream, [0, 1])] };
      break;
    case 3:
      tensors[at] = { ...tensor, type: pick(stream, [1, 2, 8, 12, 14, 30]) };
      break;
    case 4:
      tensors.push({ ...tensor, name: pick(stream, ['output.weight', 'rope_freqs.weight', 'blk.0.x.weight', '']) });
      break;
    default:
      tensors[at] = { ...tensor, data: Buffer.alloc(tensor.data.length, stream.nextInt(256)) };
  }
  return { ...model, tensors };
}

function changed(model: Model, stream: RandomStream): Model {
  let result = model;
  for (let left = 1 + stream.nextInt(3); left > 0; left--) {
    const change = stream.nextInt(4) === 0 ? changeTensors : changeMetadata;
    result = result.tensors.length > 0 && result.metadata.length > 0 ? change(result, stream) : result;
  }
  return result;
}

/** An opened GGUF model behind the parser of the file: its config, tensors, fp32 weights and tokenizer. */
export function createGgufModelTarget(root: string): FuzzTarget {
  const models = ['llama', 'qwen2', 'qwen3', 'gpt2'].map((name) => {
    const bytes = readFileSync(path.join(root, 'test/golden/formats', `${name}.gguf`));
    return modelOf(bytes, parseGguf(bytes, bytes.length));
  });
  return {
    name: 'gguf-model',
    codes: ['format'],
    baseBytes: 8 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const { metadata, tensors } = changed(pick(stream, models), stream);
      return { bytes: writeGguf(metadata, tensors), variant: 0 };
    },
    parse: async ({ bytes }, folder) => {
      const place = path.join(folder, 'model.gguf');
      writeFileSync(place, bytes);
      const cacheDir = path.join(folder, 'cache');
      try {
        const { metadata } = await openGguf(place, { cacheDir, progress: silentProgress });
        const { tokenizer, chatTemplate } = tokenizerFromGguf(metadata);
        tokenizer.decode(tokenizer.encode('the cat, again', { addSpecial: true }));
        chatTemplate?.render([{ role: 'user', content: 'the cat' }]);
      } finally {
        rmSync(cacheDir, { recursive: true, force: true });
      }
    },
  };
}
