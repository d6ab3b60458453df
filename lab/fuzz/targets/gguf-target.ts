import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { RandomStream } from '../../../src/base/random.ts';
import { readGguf } from '../../../src/models/formats/gguf.ts';
import { tokenizerFromGguf } from '../../../src/models/tokenizer/load-tokenizer.ts';
import { mutateBytes } from '../byte-mutation.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { ggufText, u32, u64 } from '../gguf-writer.ts';

const COUNTS: readonly bigint[] = [0n, 1n, 2n, 4n, 100n, 4_000_000n, 2n ** 31n, 2n ** 53n, 2n ** 63n, -1n];

/** A count that is mostly true. */
const count = (stream: RandomStream, honest: number): Buffer =>
  u64(stream.nextInt(6) === 0 ? pick(stream, COUNTS) : BigInt(honest));

function anyValue(stream: RandomStream, depth = 0): Buffer {
  const type = stream.nextInt(14);
  const scalars = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  if (type === 8) return Buffer.concat([u32(8), ggufText(pick(stream, ['', 'gpt2', 'llama', 'a'.repeat(300)]))]);
  if (type === 9) {
    if (depth > 6) return Buffer.concat([u32(9), u32(pick(stream, [0, 4, 8, 9, 99])), count(stream, 0)]);
    const items = stream.nextInt(4);
    const inner = Array.from({ length: items }, () => anyValue(stream, depth + 1));
    const innerType = inner[0]?.subarray(0, 4) ?? u32(4);
    return Buffer.concat([u32(9), innerType, count(stream, items), ...inner.map((value) => value.subarray(4))]);
  }
  return Buffer.concat([u32(type), Buffer.alloc(scalars[type] ?? 3, stream.nextInt(256))]);
}

function anyTensor(stream: RandomStream, index: number): Buffer {
  const dimensions = stream.nextInt(6);
  const shape = Array.from({ length: dimensions }, () =>
    u64(pick(stream, [0n, 1n, 2n, 32n, 256n, 2n ** 20n, 2n ** 52n, -1n])),
  );
  const type = u32(pick(stream, [0, 1, 2, 8, 12, 14, 30, 31, 255]));
  const offset = u64(pick(stream, [0n, 32n, 64n, 31n, 2n ** 40n, 2n ** 53n, -32n]));
  return Buffer.concat([ggufText(pick(stream, [`t${index}`, 't', ''])), u32(dimensions), ...shape, type, offset]);
}

const KEYS = ['general.architecture', 'general.alignment', 'tokenizer.ggml.tokens', 'tokenizer.ggml.model', 'a', ''];

/** A file in GGUF's own grammar whose counts, types and offsets lie now and then. */
function anyFile(stream: RandomStream): Buffer {
  const entries = stream.nextInt(5);
  const tensors = stream.nextInt(4);
  const metadata = Array.from({ length: entries }, () =>
    Buffer.concat([ggufText(pick(stream, KEYS)), anyValue(stream)]),
  );
  const infos = Array.from({ length: tensors }, (_, i) => anyTensor(stream, i));
  const head = [
    Buffer.from('GGUF'),
    u32(pick(stream, [3, 3, 2, 1, 0x03000000])),
    count(stream, tensors),
    count(stream, entries),
  ];
  return Buffer.concat([...head, ...metadata, ...infos, Buffer.alloc(stream.nextInt(2048))]);
}

/** A whole tokenizer in a file without tensors, from a tokenizer.json. */
function tokenizerFile(root: string): Buffer {
  const place = path.join(root, 'test/fixtures/tokenizers/gpt2-like/tokenizer.json');
  const { model } = JSON.parse(readFileSync(place, 'utf8')) as {
    model: { vocab: Record<string, number>; merges: unknown[] };
  };
  const tokens = Object.entries(model.vocab)
    .sort(([, a], [, b]) => a - b)
    .map(([token]) => token);
  const merges = model.merges.map((merge) => (Array.isArray(merge) ? merge.join(' ') : String(merge)));
  const list = (items: readonly string[]) =>
    Buffer.concat([u32(9), u32(8), u64(BigInt(items.length)), ...items.map(ggufText)]);
  const types = Buffer.concat([u32(9), u32(5), u64(BigInt(tokens.length)), ...tokens.map(() => u32(1))]);
  const entries: [string, Buffer][] = [
    ['tokenizer.ggml.model', Buffer.concat([u32(8), ggufText('gpt2')])],
    ['tokenizer.ggml.pre', Buffer.concat([u32(8), ggufText('gpt-2')])],
    ['tokenizer.ggml.tokens', list(tokens)],
    ['tokenizer.ggml.merges', list(merges)],
    ['tokenizer.ggml.token_type', types],
    ['tokenizer.ggml.eos_token_id', Buffer.concat([u32(4), u32(0)])],
    [
      'tokenizer.chat_template',
      Buffer.concat([u32(8), ggufText('{% for m in messages %}{{ m.content }}{% endfor %}')]),
    ],
  ];
  const head = [Buffer.from('GGUF'), u32(3), u64(0n), u64(BigInt(entries.length))];
  return Buffer.concat([...head, ...entries.flatMap(([key, value]) => [ggufText(key), value])]);
}

export function createGgufTarget(root: string): FuzzTarget {
  const read = (name: string): Buffer => readFileSync(path.join(root, 'test/golden/formats', `${name}.gguf`));
  const tokenizer = tokenizerFile(root);
  const corpus = [
    tokenizer,
    tokenizer,
    tokenizer,
    read('values'),
    read('values'),
    read('gpt2'),
    read('llama'),
    read('qwen2'),
  ];
  return {
    name: 'gguf',
    codes: ['format'],
    baseBytes: 4 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const bytes = stream.nextInt(3) === 0 ? anyFile(stream) : mutateBytes(pick(stream, corpus), stream);
      return { bytes, variant: 0 };
    },
    parse: async ({ bytes }, folder) => {
      const place = path.join(folder, 'model.gguf');
      writeFileSync(place, bytes);
      const { metadata } = await readGguf(place);
      if (metadata.has('tokenizer.ggml.tokens')) tokenizerFromGguf(metadata).tokenizer.encode('the cat, again');
    },
  };
}
