import { mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentProgress } from '../../src/base/progress.ts';
import { openGguf } from '../../src/models/checkpoint/gguf-checkpoint.ts';
import { locateTensors, safetensorsWeightFiles } from '../../src/models/checkpoint/safetensors-weights.ts';
import { materializeWeights } from '../../src/models/checkpoint/weight-cache.ts';
import { readGguf } from '../../src/models/formats/gguf.ts';
import { writeSafetensors } from '../../src/models/formats/safetensors.ts';
import { sha256OfFile } from '../../src/models/sources/file-hash.ts';
import { testPath } from '../support/golden-file.ts';

let folder: string;
let cacheDir: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-finite-'));
  cacheDir = join(folder, 'cache');
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const keep = (name: string): string => name;

async function materialize(path: string) {
  const files = safetensorsWeightFiles(await locateTensors([path], keep));
  return materializeWeights(files, { cacheDir, sha256: await sha256OfFile(path), progress: silentProgress });
}

/** A file of one tensor `a`; `hex` are its bytes, little-endian. */
async function fileOf(dtype: string, size: number, hex: string): Promise<string> {
  const bytes = Buffer.from(hex, 'hex');
  const json = JSON.stringify({ a: { dtype, shape: [size], data_offsets: [0, bytes.length] } }).padEnd(88);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, 'model.safetensors');
  await writeFile(path, Buffer.concat([head, Buffer.from(json), bytes]));
  return path;
}

test.each<[string, string, string]>([
  ['NaN', 'F32', '0000803f0000c07f'],
  ['a NaN with its sign set', 'F32', '0000803f0100c0ff'],
  ['infinity', 'F32', '0000803f0000807f'],
  ['-infinity', 'F32', '0000803f000080ff'],
  ['NaN', 'F16', '003c007e'],
  ['-infinity', 'F16', '003c00fc'],
  ['NaN', 'BF16', '803fc07f'],
  ['infinity', 'BF16', '803f807f'],
])('a weight that is %s in %s is refused with its place, at every opening', async (_what, dtype, hex) => {
  const path = await fileOf(dtype, 2, hex);
  for (let opening = 0; opening < 2; opening++) {
    await expect(materialize(path)).rejects.toMatchObject({ code: 'format', message: /tensor a .*value 1 / });
  }
});

test.each(['ffff7f7f01000080', 'ffff7fff000000000100000000000080'])(
  'the largest and smallest finite weights are kept',
  async (hex) => {
    await materialize(await fileOf('F32', hex.length / 8, hex));
  },
);

test('a block of a GGUF file whose scale is NaN is refused by the tensor that it is in', async () => {
  const source = testPath('golden', 'formats', 'llama.gguf');
  const { tensors } = await readGguf(source);
  const tensor = [...tensors.values()].find(({ name }) => name.endsWith('ffn_up.weight'));
  if (tensor === undefined) throw new Error('llama.gguf has no ffn_up');
  const bytes = await readFile(source);
  bytes.fill(0xff, tensor.offset, tensor.offset + 4);
  const path = join(folder, 'nan.gguf');
  await writeFile(path, bytes);
  await expect(openGguf(path, { cacheDir, progress: silentProgress })).rejects.toMatchObject({
    code: 'format',
    message: /up_proj\.weight/,
  });
});

const two = new Map([['a', { shape: [2], data: Float32Array.of(1, 2) }]]);

test('a model that is rewritten in place does not change under a session that uses it', async () => {
  const path = join(folder, 'plain.safetensors');
  await writeSafetensors(path, two, new Map());
  const before = await readFile(path);
  const store = await materialize(path);
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(4), 0, 4, before.length - 8);
  await file.truncate(before.length - 4);
  await file.close();
  expect(await readFile(store.path)).toEqual(before);
});

test('a file of the model cache, which is never rewritten, is linked', async () => {
  const path = join(cacheDir, 'models', 'plain.safetensors');
  await writeSafetensors(path, two, new Map());
  const store = await materialize(path);
  expect((await stat(store.path)).ino).toBe((await stat(path)).ino);
});

test('a converted file whose values were changed is converted again', async () => {
  const path = await fileOf('BF16', 2, '803f00c0');
  const store = await materialize(path);
  const good = await readFile(store.path);
  const changed = Buffer.from(good);
  changed.writeFloatLE(7, changed.length - 4);
  await writeFile(store.path, changed);
  await materialize(path);
  expect(await readFile(store.path)).toEqual(good);
});

test('a converted file without a record of its content is converted again, and one with it is not', async () => {
  const path = await fileOf('BF16', 2, '803f00c0');
  const store = await materialize(path);
  const { ino } = await stat(store.path);
  await materialize(path);
  expect((await stat(store.path)).ino).toBe(ino);
  await writeFile(join(dirname(store.path), 'weights.json'), '{');
  await materialize(path);
  expect((await stat(store.path)).ino).not.toBe(ino);
});
