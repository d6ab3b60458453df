import { copyFile, link, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ProgressSink, silentProgress } from '../../src/base/progress.ts';
import {
  locateTensors,
  readShardPaths,
  safetensorsWeightFiles,
} from '../../src/models/checkpoint/safetensors-weights.ts';
import { materializeWeights } from '../../src/models/checkpoint/weight-cache.ts';
import { readSafetensors, writeSafetensors } from '../../src/models/formats/safetensors.ts';
import { sha256OfFile } from '../../src/models/sources/file-hash.ts';
import { testPath } from '../support/golden-file.ts';

let folder: string;
let cacheDir: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-weights-'));
  cacheDir = join(folder, 'cache');
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const sha256 = 'ab'.repeat(32);
const one = (value: number) => ({ shape: [1, 2], data: Float32Array.of(value, -value) });
const keep = (name: string): string => name;

async function materialize(paths: readonly string[], progress: ProgressSink = silentProgress, key = sha256) {
  const files = safetensorsWeightFiles(await locateTensors(paths, keep));
  return materializeWeights(files, { cacheDir, sha256: key, progress });
}

test('a plain fp32 file of the cache serves as it lies: one inode, original offsets', async () => {
  const path = join(cacheDir, 'models', 'plain.safetensors');
  await writeSafetensors(
    path,
    new Map([
      ['a', one(1)],
      ['b', one(2)],
    ]),
    new Map(),
  );
  const store = await materialize([path]);
  expect((await stat(store.path)).ino).toBe((await stat(path)).ino);
  expect(dirname(dirname(store.path))).toBe(cacheDir);
  const bytes = await readFile(store.path);
  expect(bytes.readFloatLE((store.tensors.get('b')?.offset ?? 0) + 4)).toBe(-2);
  await materialize([path]);
  expect((await readdir(dirname(store.path))).sort()).toEqual(['weights.json', 'weights.safetensors']);
});

test('a link to an older file is replaced', async () => {
  const [old, path] = ['old', 'new'].map((name) => join(cacheDir, 'models', `${name}.safetensors`)) as [string, string];
  await writeSafetensors(old, new Map([['a', one(1)]]), new Map());
  await writeSafetensors(path, new Map([['a', one(2)]]), new Map());
  const { path: cached } = await materialize([old]);
  await materialize([path]);
  expect((await stat(cached)).ino).toBe((await stat(path)).ino);
});

test('a copy made where links do not reach is used again when its sha256 is right, and only then', async () => {
  const path = join(folder, 'plain.safetensors');
  await writeSafetensors(path, new Map([['a', one(1)]]), new Map());
  const key = await sha256OfFile(path);
  const { path: cached } = await materialize([path], silentProgress, key);
  await rm(cached);
  await copyFile(path, cached);
  const copy = (await stat(cached)).ino;
  await materialize([path], silentProgress, key);
  expect((await stat(cached)).ino).toBe(copy);
  const damaged = await readFile(cached);
  damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1);
  await writeFile(cached, damaged);
  await materialize([path], silentProgress, key);
  expect(await readFile(cached)).toEqual(await readFile(path));
});

test('half-precision and sharded weights become one fp32 file, once', async () => {
  const started: string[] = [];
  const progress: ProgressSink = {
    start: (label) => {
      started.push(label);
      return silentProgress.start(label, 0, '');
    },
  };
  const shard = join(folder, 'model-00002-of-00002.safetensors');
  await writeSafetensors(shard, new Map([['other', one(3)]]), new Map());
  const mixed = testPath('golden', 'formats', 'mixed.safetensors');
  const first = await materialize([mixed, shard], progress);
  const { mtimeMs } = await stat(first.path);
  const second = await materialize([mixed, shard], progress);
  expect(second).toEqual(first);
  expect((await stat(first.path)).mtimeMs).toBe(mtimeMs);
  expect(started).toEqual(['convert weights to fp32']);
  const [expected, found] = [await readSafetensors(mixed), await readSafetensors(first.path)];
  expect(found.tensors.get('other')?.data).toEqual(one(3).data);
  for (const [name, tensor] of expected.tensors) expect(found.tensors.get(name)).toEqual(tensor);
});

test('two plain fp32 shards become one file', async () => {
  const paths = [join(folder, 'a.safetensors'), join(folder, 'b.safetensors')];
  for (const [i, path] of paths.entries()) await writeSafetensors(path, new Map([[`t${i}`, one(i)]]), new Map());
  const { tensors } = await readSafetensors((await materialize(paths)).path);
  expect([...tensors.keys()]).toEqual(['t0', 't1']);
});

test('bf16 weights are converted even where their bytes would pass for fp32', async () => {
  const json = '{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'.padEnd(56);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, 'bf16.safetensors');
  await writeFile(path, Buffer.concat([head, Buffer.from(json), Buffer.from('803f00c0', 'hex')]));
  const store = await materialize([path]);
  expect(store.tensors.get('a')?.byteLength).toBe(8);
  expect((await readSafetensors(store.path)).tensors.get('a')?.data).toEqual(Float32Array.of(1, -2));
});

test('a converted file that was damaged, or that other tensors were taken into, is made anew', async () => {
  const mixed = testPath('golden', 'formats', 'mixed.safetensors');
  const store = await materialize([mixed]);
  const good = await readFile(store.path);
  await writeFile(store.path, good.subarray(0, good.length - 4));
  await materialize([mixed]);
  expect(await readFile(store.path)).toEqual(good);
  await writeSafetensors(store.path, new Map([['a', one(1)]]), new Map([['floodgate.sourceSha256', sha256]]));
  await materialize([mixed]);
  expect(await readFile(store.path)).toEqual(good);
});

test('weights of another source never answer for this one', async () => {
  const mixed = testPath('golden', 'formats', 'mixed.safetensors');
  const [first, second] = [await materialize([mixed]), await materialize([mixed], silentProgress, 'cd'.repeat(32))];
  expect(second.path).not.toBe(first.path);
  // A file put under a foreign key is not believed.
  await rm(second.path);
  await link(first.path, second.path);
  await materialize([mixed], silentProgress, 'cd'.repeat(32));
  expect((await stat(second.path)).ino).not.toBe((await stat(first.path)).ino);
});

test('one name in two shards is refused', async () => {
  const paths = [join(folder, 'a.safetensors'), join(folder, 'b.safetensors')];
  for (const path of paths) await writeSafetensors(path, new Map([['same', one(1)]]), new Map());
  await expect(materialize(paths)).rejects.toMatchObject({ code: 'format' });
});

test.each([
  '../evil.safetensors',
  '/etc/evil.safetensors',
  'a/b.safetensors',
  '..\\evil.safetensors',
  'pytorch_model.bin',
])('an index that names %s is refused', async (name) => {
  await mkdir(cacheDir);
  const index = join(cacheDir, 'model.safetensors.index.json');
  await writeFile(index, JSON.stringify({ weight_map: { a: name } }));
  await expect(readShardPaths(index)).rejects.toMatchObject({ code: 'format' });
});

test('an index gives each shard once, in order', async () => {
  const index = join(folder, 'model.safetensors.index.json');
  await writeFile(
    index,
    JSON.stringify({ weight_map: { a: '2.safetensors', b: '1.safetensors', c: '2.safetensors' } }),
  );
  expect(await readShardPaths(index)).toEqual([join(folder, '1.safetensors'), join(folder, '2.safetensors')]);
});
