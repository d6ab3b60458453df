import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import { parseGguf, readGguf } from '../../../src/models/formats/gguf.ts';
import { readGolden, testPath } from '../../support/golden-file.ts';

const valuesPath = testPath('golden', 'formats', 'values.gguf');
const modelPath = testPath('golden', 'formats', 'llama.gguf');

/** Offset of the 64-bit tensor count; the metadata count follows, then the first key's length. */
const TENSOR_COUNT_AT = 8;
const METADATA_COUNT_AT = 16;
const FIRST_KEY_AT = 24;

function formatErrorOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof FloodgateError && error.code === 'format') return error.message;
    throw error;
  }
  throw new Error('expected a format error');
}

test('every metadata type is read as the gguf package wrote it', async () => {
  const { metadata } = await readGguf(valuesPath);
  const golden = await readGolden<{ metadata: Record<string, unknown> }>('formats', 'values');
  for (const [key, value] of Object.entries(golden.metadata)) expect([key, metadata.get(key)]).toEqual([key, value]);
  expect(metadata.get('big')).toBe(2n ** 64n - 1n);
});

test('tensors lie where the file says, under its own alignment, shapes row-major', async () => {
  const { tensors } = await readGguf(valuesPath);
  const bytes = await readFile(valuesPath);
  const second = tensors.get('second');
  expect(second?.shape).toEqual([1, 40]);
  expect((second?.offset ?? 1) % 64).toBe(0);
  expect(bytes.readFloatLE((second?.offset ?? 0) + 4 * 39)).toBe(39);
});

test('version 2 has the same layout, others are refused', async () => {
  const bytes = await readFile(modelPath);
  const third = parseGguf(bytes, bytes.length);
  bytes.writeUInt32LE(2, 4);
  expect(parseGguf(bytes, bytes.length).tensors).toEqual(third.tensors);
  for (const version of [0, 1, 4, 0x03000000]) {
    bytes.writeUInt32LE(version, 4);
    expect(formatErrorOf(() => parseGguf(bytes, bytes.length))).toContain('version');
  }
});

test.each([
  ['tensors', TENSOR_COUNT_AT, 2n ** 62n],
  ['metadata entries', METADATA_COUNT_AT, 2n ** 63n],
  ['a string', FIRST_KEY_AT, 2n ** 40n],
])('a file that claims far too many %s is refused before anything is sized by it', async (_what, at, claim) => {
  const bytes = await readFile(modelPath);
  bytes.writeBigUInt64LE(claim, at);
  expect(formatErrorOf(() => parseGguf(bytes, bytes.length))).toMatch(/out of range/);
});

test('an array longer than the file is refused before it is built', () => {
  const head = Buffer.alloc(24 + 8 + 1 + 4 + 4 + 8);
  head.write('GGUF', 0, 'latin1');
  head.writeUInt32LE(3, 4);
  head.writeBigUInt64LE(1n, METADATA_COUNT_AT);
  head.writeBigUInt64LE(1n, FIRST_KEY_AT);
  head.write('k', 32);
  head.writeUInt32LE(9, 33);
  head.writeUInt32LE(0, 37);
  head.writeBigUInt64LE(1_000_000n, 41);
  expect(formatErrorOf(() => parseGguf(head, head.length))).toContain('more than the 0 bytes left');
});

test('a tensor that ends outside the file is refused', async () => {
  const bytes = await readFile(modelPath);
  expect(formatErrorOf(() => parseGguf(bytes, bytes.length - 64))).toMatch(/ends at byte/);
});

test('two tensors in one place are refused', async () => {
  const bytes = await readFile(valuesPath);
  // The second tensor's offset is the last field of the head: 64, one alignment step after the first.
  const at = bytes.indexOf('second') + 'second'.length + 4 + 2 * 8 + 4;
  expect(bytes.readBigUInt64LE(at)).toBe(64n);
  bytes.writeBigUInt64LE(0n, at);
  expect(formatErrorOf(() => parseGguf(bytes, bytes.length))).toMatch(/overlaps/);
});

test('a head longer than the first read is read on', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'floodgate-gguf-'));
  try {
    const bytes = await readFile(valuesPath);
    const filler = 'x'.repeat(5 * 1024 * 1024);
    const entry = Buffer.alloc(8 + 4 + 4 + 8);
    entry.writeBigUInt64LE(4n, 0);
    entry.write('long', 8);
    entry.writeUInt32LE(8, 12);
    entry.writeBigUInt64LE(BigInt(filler.length), 16);
    bytes.writeBigUInt64LE(bytes.readBigUInt64LE(METADATA_COUNT_AT) + 1n, METADATA_COUNT_AT);
    const data = Buffer.alloc(4096);
    const path = join(folder, 'long.gguf');
    await writeFile(path, Buffer.concat([bytes.subarray(0, 24), entry, Buffer.from(filler), bytes.subarray(24), data]));
    expect((await readGguf(path)).metadata.get('long')).toBe(filler);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a damaged file gives a format error or tensors inside the file, never anything else', async () => {
  const original = await readFile(valuesPath);
  const damage = fc.record({
    flips: fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { maxLength: 6 }),
    wide: fc.option(fc.tuple(fc.nat(original.length - 9), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))),
    length: fc.oneof(fc.constant(original.length), fc.nat(original.length)),
  });
  fc.assert(
    fc.property(damage, ({ flips, wide, length }) => {
      const bytes = Buffer.from(original);
      for (const [at, value] of flips) bytes[at] = value;
      if (wide !== null) bytes.writeBigUInt64LE(wide[1], wide[0]);
      const cut = bytes.subarray(0, length);
      try {
        for (const tensor of parseGguf(cut, cut.length).tensors.values()) {
          expect(tensor.offset + tensor.byteLength).toBeLessThanOrEqual(cut.length);
        }
      } catch (error) {
        if (!(error instanceof FloodgateError)) throw error;
        expect(error.code).toBe('format');
      }
    }),
    { numRuns: 3000 },
  );
});
