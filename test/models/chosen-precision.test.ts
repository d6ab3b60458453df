import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { choosePrecision } from '../../src/models/decoder/chosen-precision.ts';

let cacheDir: string;
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'floodgate-precision-'));
});
afterEach(() => rm(cacheDir, { recursive: true, force: true }));

const gains = (...values: number[]) => vi.fn(async (): Promise<number> => values.shift() ?? Number.NaN);

describe('the precision that is chosen', () => {
  test('is int8 where it gains, and never where it is slower or as fast', async () => {
    for (const [gain, precision] of [
      [3.5, 'int8'],
      [1.2, 'int8'],
      [1.1, 'fp32'],
      [0.7, 'fp32'],
    ] as const) {
      await rm(join(cacheDir, 'int8-gain.json'), { force: true });
      expect(await choosePrecision(2, cacheDir, gains(gain))).toEqual({ precision, gain });
    }
  });

  test('is measured once for a number of threads, and kept in the model cache', async () => {
    const measure = gains(2, 0.5);
    expect(await choosePrecision(1, cacheDir, measure)).toEqual({ precision: 'int8', gain: 2 });
    expect(await choosePrecision(1, cacheDir, measure)).toEqual({ precision: 'int8', gain: 2 });
    expect(await choosePrecision(2, cacheDir, measure)).toEqual({ precision: 'fp32', gain: 0.5 });
    expect(await choosePrecision(1, cacheDir, measure)).toEqual({ precision: 'int8', gain: 2 });
    expect(measure).toHaveBeenCalledTimes(2);
  });

  test('is measured again where the file is damaged', async () => {
    await writeFile(join(cacheDir, 'int8-gain.json'), '{"');
    expect((await choosePrecision(1, cacheDir, gains(2))).gain).toBe(2);
    expect(Object.values(JSON.parse(await readFile(join(cacheDir, 'int8-gain.json'), 'utf8')))).toEqual([2]);
  });

  test('comes from real products on this machine', async () => {
    const { gain, precision } = await choosePrecision(1, cacheDir);
    expect(gain).toBeGreaterThan(0.05);
    expect(gain).toBeLessThan(50);
    expect(precision).toBe(gain >= 1.2 ? 'int8' : 'fp32');
  });
});
