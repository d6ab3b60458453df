import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AttackerName } from '../../../lab/attackers.ts';
import { gatherSeedFiles } from '../../../lab/claims/gather-seeds.ts';
import { readSeedFile, seedFilePath, writeSeedFile } from '../../../lab/claims/seed-file.ts';
import type { SeedResult } from '../../../lab/claims/seed-result.ts';
import { lab } from '../lab-runner.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-seeds-'));
});
afterAll(() => rm(folder, { recursive: true }));

const attackersOf = (seed: number): SeedResult['attackers'] => ({
  ppo: { asr: 0.5, uniqueAttacks: 20, ways: 0.2, targetCalls: 10, errors: { asr: 0.01 } },
  smoothing: { asr: 0.9, uniqueAttacks: 80, ways: 0.8 + seed / 100, cosineDistance: 0.7, targetCalls: 10 },
});

const onlyAttackers = (seed: number): SeedResult => ({ seed, attackers: attackersOf(seed) });

const wholeOf = (seed: number): SeedResult => ({
  seed,
  attackers: attackersOf(seed),
  retrained: { smoothing: { asr: 0.4, uniqueAttacks: 9, ways: 9, targetCalls: 10 } },
  transfer: { other: { ppo: { asr: 0.1, uniqueAttacks: 3 }, smoothing: { asr: 0.2, uniqueAttacks: 4 } } },
  tuned: {
    ppo: { asr: { ppo: 0.1, smoothing: 0.3 }, overRefusal: 0.1, errors: { asr: { ppo: 0.01, smoothing: 0.02 } } },
    smoothing: { asr: { ppo: 0.2, smoothing: 0 }, overRefusal: 0.2 },
  },
});

let kept = 0;
/** The path of a file that holds this result. */
async function keep(
  result: SeedResult,
  world: 'proving-ground' | 'smollm2' = 'proving-ground',
  attackers = Object.keys(result.attackers) as AttackerName[],
): Promise<string> {
  const own = join(folder, `kept-${kept++}`);
  await mkdir(own);
  return writeSeedFile(own, { world, attackers, result });
}

/** A copy of a seed's file with its text changed. */
async function altered(path: string, name: string, change: (text: string) => string): Promise<string> {
  const copy = join(folder, name);
  await writeFile(copy, change(await readFile(path, 'utf8')));
  return copy;
}

describe("seeds' results", () => {
  it('come back as they were, in the order of seeds', async () => {
    const paths = [await keep(wholeOf(1)), await keep(onlyAttackers(0))];
    expect(await gatherSeedFiles(paths)).toEqual({ world: 'proving-ground', seeds: [onlyAttackers(0), wholeOf(1)] });
  });

  it('have one digest of an attacker for all seeds of a world, another in another world and of another attacker', async () => {
    const settings = async (path: string) => (await readSeedFile(path)).settingsSha256;
    const zero = await settings(await keep(onlyAttackers(0)));
    expect(await settings(await keep(onlyAttackers(1)))).toEqual(zero);
    expect((await settings(await keep(onlyAttackers(0), 'smollm2'))).attackers.ppo).not.toBe(zero.attackers.ppo);
    expect(new Set(Object.values(zero.attackers)).size).toBe(2);
    expect(zero.targets).toBeUndefined();
    expect((await settings(await keep(wholeOf(0)))).targets).toMatch(/^[0-9a-f]{64}$/);
  });

  it('join seeds of attackers alone with whole ones, whose targets must have been tuned alike', async () => {
    const [zero, one, two] = [await keep(onlyAttackers(0)), await keep(wholeOf(1)), await keep(wholeOf(2))];
    const { targets = '' } = (await readSeedFile(two)).settingsSha256;
    const retuned = await altered(two, 'retuned.json', (text) => text.replace(targets, 'f'.repeat(64)));
    await expect(gatherSeedFiles([zero, one, retuned])).rejects.toThrow(
      /retuned\.json: further or tuned targets were measured with other settings/,
    );
    expect((await gatherSeedFiles([zero, retuned])).seeds).toHaveLength(2);
  });

  it('are refused when they are no seeds of one experiment', async () => {
    const [zero, one] = [await keep(onlyAttackers(0)), await keep(onlyAttackers(1))];
    const digest = (await readSeedFile(one)).settingsSha256.attackers.ppo as string;
    const drifted = await altered(one, 'drifted.json', (text) => text.replace(digest, '0'.repeat(64)));
    await expect(gatherSeedFiles([zero, drifted])).rejects.toThrow(
      /drifted\.json: ppo was measured with other settings/,
    );
    await expect(gatherSeedFiles([zero, await keep(onlyAttackers(2), 'smollm2')])).rejects.toThrow(/world smollm2/);
    await expect(gatherSeedFiles([zero, one, zero])).rejects.toThrow(/got ppo of seed 0 twice/);
    await expect(gatherSeedFiles([])).rejects.toThrow(/got no file/);
  });

  describe('of one seed in two files', () => {
    /** `wholeOf(0)` as it was before ppo had other settings. */
    async function outdated(): Promise<string> {
      const path = await keep(wholeOf(0));
      const digest = (await readSeedFile(path)).settingsSha256.attackers.ppo as string;
      return altered(path, 'outdated.json', (text) => text.replace(digest, '0'.repeat(64)));
    }
    const ppo = { asr: 0.6, uniqueAttacks: 25, ways: 0.3, targetCalls: 10 };

    it('are joined: what was measured again stands in for all that came of the earlier settings', async () => {
      const again = await keep({
        seed: 0,
        attackers: { ppo },
        transfer: { other: { ppo: { asr: 0.7, uniqueAttacks: 1 } } },
      });
      const { seeds } = await gatherSeedFiles([await outdated(), again, await keep(onlyAttackers(1))]);
      const whole = wholeOf(0);
      expect(seeds).toEqual([
        {
          ...whole,
          attackers: { ...whole.attackers, ppo },
          transfer: { other: { ppo: { asr: 0.7, uniqueAttacks: 1 }, smoothing: { asr: 0.2, uniqueAttacks: 4 } } },
          tuned: { smoothing: { asr: { smoothing: 0 }, overRefusal: 0.2 } },
        },
        onlyAttackers(1),
      ]);
    });

    it('leave nothing of the attacks and targets that were made with the earlier settings', async () => {
      const { seeds } = await gatherSeedFiles([await outdated(), await keep({ seed: 0, attackers: { ppo } })]);
      expect(seeds[0]?.transfer).toEqual({ other: { smoothing: { asr: 0.2, uniqueAttacks: 4 } } });
      expect(seeds[0]?.tuned).toEqual({ smoothing: { asr: { smoothing: 0 }, overRefusal: 0.2 } });
      expect(seeds[0]?.retrained).toEqual(wholeOf(0).retrained);
    });

    it('lose the attackers trained again where one of them has other settings', async () => {
      const path = await keep(wholeOf(0));
      const digest = (await readSeedFile(path)).settingsSha256.attackers.smoothing as string;
      const old = await altered(path, 'old-smoothing.json', (text) => text.replace(digest, '0'.repeat(64)));
      const smoothing = { ...ppo, uniqueAttacks: 26 };
      const { seeds } = await gatherSeedFiles([old, await keep({ seed: 0, attackers: { smoothing } })]);
      expect(seeds[0]?.retrained).toBeUndefined();
      expect(seeds[0]?.attackers).toEqual({ ppo: wholeOf(0).attackers.ppo, smoothing });
    });

    it('are refused in the other order, once another seed has the later settings', async () => {
      const again = await keep({ seed: 0, attackers: { ppo } });
      await expect(gatherSeedFiles([again, await outdated(), await keep(onlyAttackers(1))])).rejects.toThrow(
        /seed-1\.json: ppo was measured with other settings/,
      );
    });
  });

  it('kept by a run are gone on from where an attacker had nothing to learn from, and no other attacker counts', async () => {
    const runs = join(folder, 'unlearnt');
    await mkdir(join(runs, 'claims-smollm2'), { recursive: true });
    const asked: AttackerName[] = ['smoothing', 'ppo', 'ppo-smoothing'];
    await copyFile(await keep(wholeOf(0), 'smollm2', asked), seedFilePath(join(runs, 'claims-smollm2'), 0));
    const claims = (...names: string[]) =>
      lab(['claims', '--world', 'smollm2', '--seed', '0', '--runs-dir', runs, '--json', '--attackers', ...names]);
    const whole = await claims(...asked);
    expect(whole.code, whole.stdout).toBe(0);
    const fewer = await claims('smoothing', 'ppo');
    expect(fewer.code).toBe(1);
    expect(fewer.stdout).toContain('measured of ppo, ppo-smoothing, smoothing, expected ppo, smoothing');
  });

  it('kept by a run stop one with other attackers or other settings before any work', async () => {
    const runs = join(folder, 'runs');
    await mkdir(join(runs, 'claims-smollm2'), { recursive: true });
    const path = seedFilePath(join(runs, 'claims-smollm2'), 0);
    const source = await keep(onlyAttackers(0), 'smollm2');
    await copyFile(source, path);
    const claims = (...names: string[]) =>
      lab([
        'claims',
        '--world',
        'smollm2',
        '--seed',
        '0',
        '--runs-dir',
        runs,
        '--until',
        'attackers',
        '--attackers',
        ...names,
      ]);
    const other = await claims('ppo');
    expect(other.code).toBe(1);
    expect(other.stderr).toContain('it was measured of ppo, smoothing, expected ppo');
    const same = await claims('smoothing', 'ppo', '--json');
    expect(same.code).toBe(0);
    expect(JSON.parse(same.stdout).claims[0]).toMatchObject({ id: 'C1', seeds: 1 });
    const digest = (await readSeedFile(path)).settingsSha256.attackers.ppo as string;
    await writeFile(path, (await readFile(path, 'utf8')).replace(digest, '0'.repeat(64)));
    expect((await claims('smoothing', 'ppo')).stderr).toContain('it was measured with other settings');
    const strange = await claims('stable-gfn');
    expect(strange.code).toBe(2);
    expect(strange.stderr).toContain('smollm2 does not compare');
  });

  it('are refused when they are absent, too large, torn, or hold what no claim measures', async () => {
    const zero = await keep(onlyAttackers(0));
    const bad: Readonly<Record<string, (text: string) => string>> = {
      'large.json': (text) => text.padEnd(1024 * 1024 + 1),
      'torn.json': (text) => text.slice(0, -20),
      'high.json': (text) => text.replace('"asr": 0.9', '"asr": 1.9'),
      'stranger.json': (text) => text.replace('"smoothing": {', '"stranger": {'),
      'more.json': (text) => text.replace('"seed": 0', '"seed": 0, "more": 1'),
      'undigested.json': (text) => text.replace(/"ppo": "[0-9a-f]{64}",/, ''),
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
    const paths = [await keep(onlyAttackers(0)), await keep(onlyAttackers(1))];
    const { code, stdout } = await lab(['claims', '--json', '--from', ...paths]);
    expect(code).toBe(0);
    const { world, claims } = JSON.parse(stdout);
    expect(world).toBe('proving-ground');
    expect(claims.find(({ id }: { id: string }) => id === 'C1')).toMatchObject({
      seeds: 2,
      value: expect.closeTo(0.7515, 4),
    });
    const output = join(folder, 'new', 'decided');
    const written = await lab(['claims', '--output', output, '--from', ...paths]);
    expect(written.stdout).toContain(join(output, 'asr-by-cosine-distance.svg'));
    expect(await readFile(join(output, 'unique-by-target-calls.svg'), 'utf8')).toContain('>smoothing</text>');
    expect(JSON.parse(await readFile(join(output, 'claims.json'), 'utf8')).results).toHaveLength(2);
    const both = await lab(['claims', '--seeds', '2', '--from', ...paths]);
    expect(both.code).toBe(2);
    expect((await lab(['claims', '--seeds', '2', '--seed', '1'])).code).toBe(2);
  });
});
