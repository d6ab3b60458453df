import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import { extractZipEntries } from '../../../src/models/formats/zip.ts';
import { testPath } from '../../support/golden-file.ts';

const LIMITS = { maxEntryBytes: 1_000_000, maxTotalBytes: 2_000_000, maxEntries: 100 };
const sample = testPath('golden', 'formats', 'sample.zip');
const modelFile = (name: string): string | undefined => /^model\/(.+)$/.exec(name)?.[1];
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-zip-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

test('only the wanted files come out, below their own folders', async () => {
  const out = join(folder, 'out');
  expect(await extractZipEntries(sample, modelFile, out, LIMITS)).toEqual(['config.json', '1_Pooling/config.json']);
  expect((await readdir(out, { recursive: true })).sort()).toEqual([
    '1_Pooling',
    '1_Pooling/config.json',
    'config.json',
  ]);
  expect(await readFile(join(out, '1_Pooling/config.json'), 'utf8')).toBe('{"a": 1}');
});

test('an entry named to leave the folder is refused, and nothing is written', async () => {
  const out = join(folder, 'out');
  const all = (name: string): string => name;
  await expect(extractZipEntries(testPath('golden', 'formats', 'slip.zip'), all, out, LIMITS)).rejects.toMatchObject({
    code: 'format',
  });
  expect((await readdir(folder, { recursive: true })).sort()).toEqual(['out']);
});

test.each(['../x', 'a/../../x', '/x', 'C:x', 'a\\..\\x', 'a//x', './x', '', 'x\0y'])(
  'an output name %j is refused',
  async (output) => {
    await expect(extractZipEntries(sample, () => output, join(folder, 'out'), LIMITS)).rejects.toMatchObject({
      code: 'format',
    });
    expect((await readdir(folder, { recursive: true })).sort()).toEqual(['out']);
  },
);

test('a bomb is refused by its claimed size, and by what really comes out when it lies', async () => {
  const bomb = await readFile(testPath('golden', 'formats', 'bomb.zip'));
  const lying = Buffer.from(bomb);
  const central = lying.indexOf('PK\x01\x02', 0, 'latin1');
  expect(lying.readUInt32LE(central + 24)).toBe(40_000_000);
  lying.writeUInt32LE(100, central + 24);
  for (const [i, bytes] of [bomb, lying].entries()) {
    const path = join(folder, `${i}.zip`);
    await writeFile(path, bytes);
    const out = join(folder, `out-${i}`);
    await expect(extractZipEntries(path, modelFile, out, LIMITS)).rejects.toMatchObject({ code: 'format' });
    expect(await readdir(out)).toEqual([]);
  }
});

test('limits on all files together and on the number of entries hold', async () => {
  const out = join(folder, 'out');
  for (const limits of [
    { ...LIMITS, maxTotalBytes: 9 },
    { ...LIMITS, maxEntries: 3 },
    { ...LIMITS, maxEntryBytes: 7 },
  ]) {
    await expect(extractZipEntries(sample, modelFile, out, limits)).rejects.toMatchObject({ code: 'format' });
  }
  expect(await readdir(out)).toEqual([]);
});

test('two entries for one output are refused', async () => {
  const both = (name: string): string | undefined => (name.endsWith('config.json') ? 'config.json' : undefined);
  await expect(extractZipEntries(sample, both, join(folder, 'out'), LIMITS)).rejects.toThrow(/two entries/);
});

test('a damaged zip gives a format error or files within the limits, never anything else', async () => {
  const original = await readFile(sample);
  const damage = fc.record({
    flips: fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
    length: fc.oneof(fc.constant(original.length), fc.nat(original.length)),
  });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(damage, async ({ flips, length }) => {
      const bytes = Buffer.from(original);
      for (const [at, value] of flips) bytes[at] = value;
      const path = join(folder, 'damaged.zip');
      await writeFile(path, bytes.subarray(0, length));
      try {
        await extractZipEntries(path, modelFile, join(folder, `run-${run++}`), LIMITS);
      } catch (error) {
        if (!(error instanceof FloodgateError)) throw error;
        expect(error.code).toBe('format');
      }
    }),
    { numRuns: 300 },
  );
});
