import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatherSeedFiles, readSeedFile, writeSeedFile } from '../../src/campaign/claims/seed-file.ts';
import type { SeedResult } from '../../src/campaign/claims/seed-result.ts';
import { cli } from '../cli/cli-runner.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-seeds-'));
});
afterAll(() => rm(folder, { recursive: true }));

const resultOf = (seed: number): SeedResult => ({
  seed,
  attackers: {
    ppo: { asr: 0.5, uniqueAttacks: 20, ways: 0.2, targetCalls: 10, errors: { asr: 0.01 } },
    smoothing: { asr: 0.9, uniqueAttacks: 80, ways: 0.8 + seed / 100, cosineDistance: 0.7, targetCalls: 10 },
  },
  transfer: { other: { ppo: { asr: 0.1, uniqueAttacks: 3 } } },
  tuned: { ppo: { asr: { smoothing: 0.3 }, overRefusal: 0.1, errors: { asr: { smoothing: 0.02 } } } },
});

const kept = (
  seed: number,
  world: 'proving-ground' | 'smollm2' = 'proving-ground',
  parts: 'attackers' | 'all' = 'attackers',
): Promise<string> => writeSeedFile(folder, { world, parts, result: resultOf(seed) });

/** A copy of a seed's file with its text changed. */
async function altered(path: string, name: string, change: (text: string) => string): Promise<string> {
  const copy = join(folder, name);
  await writeFile(copy, change(await readFile(path, 'utf8')));
  return copy;
}

describe("seeds' results", () => {
  it('come back as they were, in the order of seeds', async () => {
    const paths = [await kept(1), await kept(0)];
    expect(await gatherSeedFiles(paths)).toEqual({ world: 'proving-ground', seeds: [resultOf(0), resultOf(1)] });
  });

  it('have one digest for all seeds of a world, and another in another world', async () => {
    const [zero, one, other] = await Promise.all(
      [kept(0), kept(1), kept(2, 'smollm2')].map(async (path) => readSeedFile(await path)),
    );
    expect(one?.settingsSha256).toEqual(zero?.settingsSha256);
    expect(other?.settingsSha256.attackers).not.toBe(zero?.settingsSha256.attackers);
  });

  it('join seeds of attackers alone with whole ones, whose targets must have been tuned alike', async () => {
    const [zero, one, two] = [
      await kept(0),
      await kept(1, 'proving-ground', 'all'),
      await kept(2, 'proving-ground', 'all'),
    ];
    expect((await gatherSeedFiles([zero, one, two])).seeds.map(({ seed }) => seed)).toEqual([0, 1, 2]);
    const { targets = '' } = (await readSeedFile(two)).settingsSha256;
    const retuned = await altered(two, 'retuned.json', (text) => text.replace(targets, 'f'.repeat(64)));
    await expect(gatherSeedFiles([zero, one, retuned])).rejects.toThrow(
      /retuned\.json: it was measured with other settings/,
    );
    expect((await gatherSeedFiles([zero, retuned])).seeds).toHaveLength(2);
  });

  it('are refused when they are no seeds of one experiment', async () => {
    const [zero, one] = [await kept(0), await kept(1)];
    const digest = (await readSeedFile(one)).settingsSha256.attackers;
    const drifted = await altered(one, 'drifted.json', (text) => text.replace(digest, '0'.repeat(64)));
    await expect(gatherSeedFiles([zero, drifted])).rejects.toThrow(
      /drifted\.json: it was measured with other settings/,
    );
    await expect(gatherSeedFiles([zero, await kept(2, 'smollm2')])).rejects.toThrow(/the world smollm2, unlike/);
    await expect(gatherSeedFiles([zero, one, zero])).rejects.toThrow(/got seed 0 twice/);
    await expect(gatherSeedFiles([])).rejects.toThrow(/got no file/);
  });

  it('are refused when they are absent, too large, torn, or hold what no claim measures', async () => {
    const zero = await kept(0);
    const bad: Readonly<Record<string, (text: string) => string>> = {
      'large.json': (text) => text.padEnd(1024 * 1024 + 1),
      'torn.json': (text) => text.slice(0, -20),
      'high.json': (text) => text.replace('"asr": 0.9', '"asr": 1.9'),
      'stranger.json': (text) => text.replace('"smoothing": {', '"stranger": {'),
      'more.json': (text) => text.replace('"seed": 0', '"seed": 0, "more": 1'),
    };
    for (const [name, change] of Object.entries(bad)) {
      const path = await altered(zero, name, change);
      await expect(readSeedFile(path), name).rejects.toMatchObject({
        code: 'format',
        message: expect.stringContaining(name),
      });
    }
    await expect(readSeedFile(join(folder, 'none.json'))).rejects.toThrow(/there is no such file/);
  });

  it('are decided by the command without a run', async () => {
    const paths = [await kept(0), await kept(1)];
    const { code, stdout } = await cli(['claims', '--json', '--from', ...paths]);
    expect(code).toBe(0);
    const { world, claims } = JSON.parse(stdout);
    expect(world).toBe('proving-ground');
    expect(claims.find(({ id }: { id: string }) => id === 'C1')).toMatchObject({
      seeds: 2,
      value: expect.closeTo(0.7515, 4),
    });
    const both = await cli(['claims', '--seeds', '2', '--from', ...paths]);
    expect(both.code).toBe(2);
    expect((await cli(['claims', '--seeds', '2', '--seed', '1'])).code).toBe(2);
  });
});
