import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import {
  readSafetensors,
  writeSafetensors,
  writeSafetensorsStreamed,
} from '../../../src/models/formats/safetensors.ts';
import { parseHeaderLength, parseSafetensorsHeader } from '../../../src/models/formats/safetensors-header.ts';
import { type GoldenTensor, goldenFloat32, readGolden, testPath } from '../../support/golden-file.ts';

const mixedPath = testPath('golden', 'formats', 'mixed.safetensors');
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-safetensors-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

function parse(file: Buffer) {
  const length = parseHeaderLength(file.subarray(0, 8), file.length, 'test');
  return parseSafetensorsHeader(file.subarray(8, 8 + length), file.length);
}

/** A file with this header and `dataBytes` zero bytes after it. */
function fileOf(header: unknown, dataBytes: number): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)]);
}

const tensor = (shape: unknown, range: unknown, dtype: unknown = 'F32') => ({ dtype, shape, data_offsets: range });

const F32_ONE = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}';

test('F32, F16 and BF16 come out exactly as the safetensors package wrote them; integers are left out', async () => {
  const golden = await readGolden<{ tensors: Record<string, GoldenTensor>; metadata: Record<string, string> }>(
    'formats',
    'mixed',
  );
  const { tensors, metadata } = await readSafetensors(mixedPath);
  expect([...tensors.keys()].sort()).toEqual(Object.keys(golden.tensors).sort());
  for (const [name, expected] of Object.entries(golden.tensors)) {
    expect(tensors.get(name)?.shape).toEqual(expected.shape);
    expect(tensors.get(name)?.data).toEqual(goldenFloat32(expected));
  }
  expect(Object.fromEntries(metadata)).toEqual(golden.metadata);
});

test('what is written is read back bit for bit, data aligned to 64 bytes, and no partial file stays', async () => {
  const path = join(folder, 'below', 'state.safetensors');
  const tensors = new Map([
    ['__proto__', { shape: [2, 3], data: Float32Array.from([1, -0, Number.NaN, 1e-40, -1e38, 3]) }],
    ['1', { shape: [], data: Float32Array.of(7) }],
    ['empty', { shape: [0, 4], data: new Float32Array(0) }],
  ]);
  await writeSafetensors(path, tensors, new Map([['update', '12']]));
  const back = await readSafetensors(path);
  expect(back.metadata.get('update')).toBe('12');
  for (const [name, { shape, data }] of tensors) {
    expect(back.tensors.get(name)?.shape).toEqual(shape);
    expect(Buffer.from(back.tensors.get(name)?.data.buffer ?? new ArrayBuffer(1))).toEqual(Buffer.from(data.buffer));
  }
  expect((await readFile(path)).readUInt32LE(0) % 64).toBe(56);
  expect(await readdir(join(folder, 'below'))).toEqual(['state.safetensors']);
});

test('a writer that fails leaves the old file and nothing else', async () => {
  const path = join(folder, 'state.safetensors');
  await writeSafetensors(path, new Map([['a', { shape: [1], data: Float32Array.of(1) }]]), new Map());
  const before = await readFile(path);
  const torn = {
    name: 'a',
    shape: [4],
    pieces: async function* () {
      yield Float32Array.of(1, 2);
    },
  };
  await expect(writeSafetensorsStreamed(path, [torn], new Map())).rejects.toMatchObject({ code: 'format' });
  expect(await readFile(path)).toEqual(before);
  expect(await readdir(folder)).toEqual(['state.safetensors']);
});

test.each<[string, Buffer]>([
  ['a header longer than the file', Buffer.from('ffffff7f00000000', 'hex')],
  ['a header of 2^63 bytes', Buffer.from('0000000000000080', 'hex')],
  ['seven bytes', Buffer.alloc(7)],
  ['a header that is not JSON', fileOf('{"a":', 0)],
  ['a header that is a list', fileOf([], 0)],
  ['an unknown dtype', fileOf({ a: tensor([1], [0, 4], 'F8_E4M3') }, 4)],
  ['a dtype named like an object member', fileOf({ a: tensor([1], [0, 4], 'constructor') }, 4)],
  [
    'a dtype of lists in lists',
    fileOf(`{"a":{"dtype":${'['.repeat(20_000)}${']'.repeat(20_000)},"shape":[1],"data_offsets":[0,4]}}`, 4),
  ],
  ['a shape that does not fill its range', fileOf({ a: tensor([2], [0, 4]) }, 4)],
  ['a range that its shape does not fill', fileOf({ a: tensor([2], [0, 4]) }, 8)],
  ['a negative size', fileOf({ a: tensor([-1, -1], [0, 4]) }, 4)],
  ['sizes whose product overflows', fileOf({ a: tensor([2 ** 52, 2 ** 52], [0, 4]) }, 4)],
  ['a range that runs backwards', fileOf({ a: tensor([1], [4, 0]) }, 4)],
  ['a range beyond the file', fileOf({ a: tensor([2], [0, 8]) }, 4)],
  ['two tensors that overlap', fileOf({ a: tensor([2], [0, 8]), b: tensor([1], [4, 8]) }, 8)],
  ['two tensors in one place', fileOf({ a: tensor([1], [0, 4]), b: tensor([1], [0, 4]) }, 8)],
  ['a hole, and the tensor after it beyond the file', fileOf({ a: tensor([1], [0, 4]), b: tensor([1], [8, 12]) }, 8)],
  ['a hole between tensors', fileOf({ a: tensor([1], [0, 4]), b: tensor([1], [8, 12]) }, 12)],
  ['bytes after the last tensor', fileOf({ a: tensor([1], [0, 4]) }, 8)],
  ['a name given twice for one place', fileOf(`{"a":${F32_ONE},"a":${F32_ONE}}`, 4)],
  ['a name given twice, once with an escape', fileOf(`{"a":${F32_ONE},"\\u0061" : ${F32_ONE}}`, 4)],
  ['a range given twice', fileOf(`{"a":${F32_ONE.replace('}', ',"data_offsets":[0,4]}')}}`, 4)],
  ['metadata given twice', fileOf('{"__metadata__":{"k":"1"},"__metadata__":{"k":"2"}}', 0)],
  ['a key of the metadata given twice', fileOf('{"__metadata__":{"k":"1","k":"2"}}', 0)],
  [
    'a name given twice',
    fileOf(
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
      8,
    ),
  ],
  ['metadata that is no string', fileOf({ __metadata__: { a: 1 } }, 0)],
])('%s is a format error', async (_what, file) => {
  const path = join(folder, 'bad.safetensors');
  await writeFile(path, file);
  await expect(readSafetensors(path)).rejects.toMatchObject({ code: 'format' });
});

test('a header of 33 MB is refused before it is read, however large the file', () => {
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(33n * 1024n * 1024n);
  expect(() => parseHeaderLength(prefix, 2 ** 40, 'test')).toThrow(FloodgateError);
});

test('a damaged header gives a format error or tensors inside the file, never anything else', async () => {
  const original = await readFile(mixedPath);
  const headerEnd = 8 + original.readUInt32LE(0);
  const damage = fc.record({
    flips: fc.array(fc.tuple(fc.nat(headerEnd - 1), fc.nat(255)), { minLength: 1, maxLength: 5 }),
    digits: fc.array(fc.tuple(fc.integer({ min: 8, max: headerEnd - 1 }), fc.nat(9)), { maxLength: 3 }),
    length: fc.oneof(fc.constant(original.length), fc.nat(original.length)),
  });
  fc.assert(
    fc.property(damage, ({ flips, digits, length }) => {
      const bytes = Buffer.from(original);
      for (const [at, value] of digits) if (/\d/.test(String.fromCharCode(bytes[at] as number))) bytes[at] = 48 + value;
      for (const [at, value] of length === original.length && digits.length > 0 ? [] : flips) bytes[at] = value;
      const cut = bytes.subarray(0, length);
      try {
        for (const entry of parse(cut).tensors.values()) {
          expect(entry.offset + entry.byteLength).toBeLessThanOrEqual(cut.length);
        }
      } catch (error) {
        if (!(error instanceof FloodgateError)) throw error;
        expect(error.code).toBe('format');
      }
    }),
    { numRuns: 3000 },
  );
});

test('the writer refuses a header above the limits of the reader, before the old file is touched', async () => {
  const path = join(folder, 'state.safetensors');
  const one = new Map([['a', { shape: [1], data: Float32Array.of(1) }]]);
  await writeSafetensors(path, one, new Map());
  const before = await readFile(path);
  const long = new Map([['state', 'x'.repeat(33 * 1024 * 1024)]]);
  await expect(writeSafetensors(path, one, long)).rejects.toMatchObject({
    code: 'format',
    message: expect.stringContaining(`write ${path}: no reader would accept it`),
  });
  expect(await readFile(path)).toEqual(before);
  expect(await readdir(folder)).toEqual(['state.safetensors']);
});

test('the reader reads what the writer accepts: names, shapes, metadata and bytes of any kind', async () => {
  const anyShape = fc.array(fc.oneof(fc.nat(2), fc.constantFrom(-1, 0.5, 2 ** 53)), { maxLength: 10 });
  const anyTensor = anyShape.map((shape) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return { shape, data: new Float32Array(size > 0 && size < 99 ? Math.ceil(size) : 0) };
  });
  const anyName = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__metadata__', '__proto__', '1', '\ud800'));
  const anyFile = fc.record({
    tensors: fc.array(fc.tuple(anyName, anyTensor), { maxLength: 3 }),
    metadata: fc.array(fc.tuple(anyName, fc.string({ unit: 'binary' })), { maxLength: 3 }),
    bytes: fc.array(fc.tuple(anyName, fc.uint8Array({ maxLength: 70 })), { maxLength: 2 }),
  });
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(anyFile, async (file) => {
      const path = join(folder, 'any.safetensors');
      const [tensors, metadata, bytes] = [new Map(file.tensors), new Map(file.metadata), new Map(file.bytes)];
      const refused = await writeSafetensors(path, tensors, metadata, bytes).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refused !== undefined) {
        expect(refused).toMatchObject({ code: 'format' });
        return;
      }
      accepted++;
      expect(await readSafetensors(path)).toEqual({ tensors, metadata, bytes });
    }),
    { numRuns: 300, seed: 4 },
  );
  expect(accepted).toBeGreaterThan(50);
});

test('any tensors survive a write and a read', async () => {
  const anyTensor = fc
    .array(fc.nat(4), { maxLength: 3 })
    .chain((shape) =>
      fc
        .array(fc.float(), { minLength: shape.reduce((a, b) => a * b, 1), maxLength: shape.reduce((a, b) => a * b, 1) })
        .map((values) => ({ shape, data: Float32Array.from(values) })),
    );
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(
        fc.string().filter((name) => name !== '__metadata__'),
        anyTensor,
        { maxKeys: 4 },
      ),
      async (tensors) => {
        const path = join(folder, 'any.safetensors');
        await writeSafetensors(path, new Map(Object.entries(tensors)), new Map());
        expect((await readSafetensors(path)).tensors).toEqual(new Map(Object.entries(tensors)));
      },
    ),
    { numRuns: 40 },
  );
});
