import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Progress, type ProgressSink, silentProgress } from '../../src/base/progress.ts';
import { sha256OfFile } from '../../src/models/sources/file-hash.ts';
import { createKey } from '../../src/worlds/keys.ts';
import { PICO_CONFIG, writeInitialWeights } from '../../src/worlds/pico-model.ts';
import { openWorld } from '../../src/worlds/world.ts';
import { readRefusal, worldFolder, writeRefusal, writeWorldRecord } from '../../src/worlds/world-file.ts';
import { DEFAULT_WORLD, type WorldSpec } from '../../src/worlds/world-spec.ts';
import { cli } from '../cli/cli-runner.ts';

const compute = { device: 'cpu', threads: 2 } as const;

let cacheDir: string;
beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-refused-'));
});
afterAll(() => rm(cacheDir, { recursive: true, force: true }));

describe('a world that no target can make fit', () => {
  const spec: WorldSpec = { ...DEFAULT_WORLD, seed: 3, keys: 24, hardness: 3 };
  const started: string[] = [];
  const said: string[] = [];
  /** Notes what is begun and said, and calls `onUpdate` at every step. */
  const watched = (onUpdate: (label: string) => void = () => undefined): ProgressSink => ({
    start: (label): Progress => {
      started.push(label);
      return { update: () => onUpdate(label), finish: () => undefined };
    },
    say: (line) => void said.push(line),
  });

  it('can be interrupted while it is measured, and says how to go on', async () => {
    const stop = new AbortController();
    let replicates = 0;
    const progress = watched((label) => {
      if (label !== 'measure the world') return;
      replicates++;
      stop.abort();
    });
    const open = openWorld(spec, { cacheDir, compute, progress, signal: stop.signal });
    await expect(open).rejects.toMatchObject({
      code: 'interrupted',
      hint: expect.stringContaining('the same command'),
    });
    expect(replicates).toBe(1);
    expect(said).toEqual([expect.stringContaining('build world 3')]); // before anything that takes time
  }, 240_000);

  it('is refused before a target is trained for it', async () => {
    started.length = 0;
    await expect(openWorld(spec, { cacheDir, compute, progress: watched() })).rejects.toMatchObject({
      code: 'world',
      message: expect.stringMatching(/refused: .*expected at least 0\.97.*expected at least 0\.85/),
      hint: expect.stringContaining('lower --hardness'),
    });
    expect(started).not.toContain('target-0');
    const files = await readdir(worldFolder(cacheDir, spec));
    expect(files.filter((name) => name.startsWith('target'))).toEqual([]);
  }, 240_000);

  it('is refused at once the next time, for the same reasons', async () => {
    started.length = 0;
    const [problem] = (await readRefusal(worldFolder(cacheDir, spec))) ?? [];
    const open = openWorld(spec, { cacheDir, compute, progress: watched() });
    await expect(open).rejects.toMatchObject({ code: 'world', message: expect.stringContaining(problem as string) });
    expect(started).toEqual([]);
  });

  it('is not taken for refused, nor built anew, when its record is damaged', async () => {
    const folder = worldFolder(cacheDir, { ...spec, seed: 4 });
    await mkdir(folder, { recursive: true });
    await writeFile(path.join(folder, 'refused.json'), '{"problems": []}');
    const open = openWorld({ ...spec, seed: 4 }, { cacheDir, compute, progress: silentProgress });
    await expect(open).rejects.toMatchObject({ code: 'format', hint: expect.stringContaining(folder) });
  });
});

describe('floodgate world', () => {
  const specOf = (seed: number): WorldSpec => ({ ...DEFAULT_WORLD, keys: 24, seed });
  const refuse = async (seed: number): Promise<void> => {
    const folder = worldFolder(cacheDir, specOf(seed));
    await mkdir(folder, { recursive: true });
    await writeRefusal(folder, [`problem of ${seed}`]);
  };
  /** A world as if it had been built: an admitted truth, and models that nobody asks. */
  const admit = async (seed: number): Promise<void> => {
    const folder = worldFolder(cacheDir, specOf(seed));
    await mkdir(folder, { recursive: true });
    const hashes = ['attacker', 'target'].map(async (role) => {
      const file = path.join(folder, `${role}.safetensors`);
      await writeInitialWeights(PICO_CONFIG, file, seed);
      return sha256OfFile(file);
    });
    const [attacker = '', target = ''] = await Promise.all(hashes);
    const key = { ...createKey(['old', 'bridge'], 'bridge'), prior: 1e-3, leak: 0.8 };
    const part = { share: 0.5, error: 0, success: 1, alarm: 0.8 };
    await writeWorldRecord(folder, {
      spec: specOf(seed),
      keys: [key],
      seeds: ['paint old bridge'],
      truth: {
        keys: [part],
        keyless: part,
        falseAlarms: { share: 0, error: 0 },
        logZ: 0,
        leakError: 0,
        exactRecall: 1,
        exactSuccess: 1,
      },
      sha256: { attacker, target },
    });
  };
  const world = (...args: string[]) => cli(['world', '--keys', '24', '--cache-dir', cacheDir, ...args]);

  it('without a seed goes on from refused worlds to the next, and says so in one line each', async () => {
    await refuse(102);
    await refuse(202);
    await admit(302);
    const { code, stdout, stderr } = await world();
    expect(code, stderr).toBe(0);
    expect(stdout).toContain('World 302: 1 keys');
    expect(stderr.split('\n')).toEqual([
      'open world 102: refused: problem of 102; next: world 202',
      'open world 202: refused: problem of 202; next: world 302',
      '',
    ]);
  });

  it('with --json prints the one object, whose spec names the world', async () => {
    const { stdout, stderr } = await world('--json');
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ spec: { seed: 302 } });
  });

  it('refuses a seed that was asked for, with the reason', async () => {
    const { code, stderr } = await world('--world-seed', '202');
    expect(code).toBe(1);
    expect(stderr).toContain('open world 202: refused: problem of 202\nhint: choose another --world-seed');
    expect((await world('--world-seed', '302')).code).toBe(0);
  });

  it('gives up after ten refused worlds', async () => {
    const folder = worldFolder(cacheDir, specOf(302));
    await rm(folder, { recursive: true });
    for (let seed = 302; seed <= 1002; seed += 100) await refuse(seed);
    const { code, stderr } = await world();
    expect(code).toBe(1);
    expect(stderr).toContain('error: open world 1002: refused');
    expect(stderr.match(/next: world/g)).toHaveLength(9);
  });
});
