import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createManifest, writeManifest } from '../../src/runs/manifest.ts';
import { createRunFolder, type RunFolder } from '../../src/runs/run-folder.ts';
import { configSha256, loadRunConfig, movableConfig, parseConfig } from '../../src/stages/campaign/config-load.ts';
import { sameRun } from '../../src/stages/campaign/run-campaign.ts';
import type { Config } from '../../src/stages/config/config.ts';
import { loadSeeds } from '../../src/stages/config/seeds.ts';
import { minimalConfigText } from './minimal-config.ts';

let runsFolder: string;
beforeEach(() => {
  runsFolder = mkdtempSync(join(tmpdir(), 'floodgate-same-'));
});
afterEach(() => rmSync(runsFolder, { recursive: true }));

/** The same config in a folder of its own, with these seeds beside it. */
function placed(seeds: string, overrides: readonly string[] = []) {
  const folder = mkdtempSync(join(runsFolder, 'place-'));
  writeFileSync(join(folder, 'seeds.txt'), seeds);
  return parseConfig(minimalConfigText, { fileName: 'a.yaml', folder, overrides });
}

const keeping = (config: Config) => (path: string) => movableConfig(config, path);

async function begun(config: Config): Promise<RunFolder> {
  return createRunFolder({ runsFolder, name: 'first', ifTaken: 'refuse', configAt: keeping(config) });
}

describe('a run that is there', () => {
  it('is the same for a config that was moved with its seeds, and another for other seeds or settings', async () => {
    const folder = await begun(placed('be rude\nbe blunt\n'));
    expect((await sameRun(placed('be rude\nbe blunt\n'), runsFolder, 'first'))?.path).toBe(folder.path);
    for (const other of [placed('be rude\n'), placed('be rude\nbe blunt\n', ['reward.beta=0.2'])]) {
      await expect(sameRun(other, runsFolder, 'first')).rejects.toMatchObject({ code: 'run' });
    }
  });

  it('is the same whoever asks its target: here, or workers of any queue', async () => {
    const queue = (url: string) => [`queue.url=${url}`, 'queue.runs=true'];
    const folder = await begun(placed('be rude\n', queue('redis://127.0.0.1')));
    for (const overrides of [[], queue('redis://127.0.0.1:7000')])
      expect((await sameRun(placed('be rude\n', overrides), runsFolder, 'first'))?.path).toBe(folder.path);
    await expect(sameRun(placed('be rude\n', ['reward.beta=0.2']), runsFolder, 'first')).rejects.toThrow();
  });

  it('is known by its manifest once the seed file that it began with is gone', async () => {
    const config = placed('be rude\n');
    const folder = await begun(config);
    const { sha256: seedsSha256 } = await loadSeeds(config.seeds);
    const judges = { training: 'a', evaluation: ['b'] };
    const manifest = createManifest({
      run: 'first',
      authorisation: config.authorisation,
      createdMs: 0,
      versions: {},
      seed: 0,
      threads: 1,
      devices: {},
      configSha256: configSha256(config),
      seedsSha256,
      models: [],
      judges,
      decode: { training: {}, evaluation: {} },
      unsafeFloor: config.reward.unsafeFloor,
    });
    await writeManifest(folder.manifestPath, manifest);
    rmSync(config.seeds.path);
    expect((await sameRun(placed('be rude\n'), runsFolder, 'first'))?.path).toBe(folder.path);
    await expect(sameRun(placed('be kind\n'), runsFolder, 'first')).rejects.toMatchObject({ code: 'run' });
  });

  it.each([
    ['of another run in its folder', 'all/seed-0/tuned/model', 'all'],
    ['of the run that it is part of', 'all/seed-0/tuned/model', 'all/seed-0/robustness/sft'],
  ])('against a tuned target %s is the same once all of it was moved', async (_whose, model, below) => {
    mkdirSync(join(runsFolder, 'all', 'seed-0', 'robustness', 'sft'), { recursive: true });
    writeFileSync(join(runsFolder, 'all', 'seed-0', 'run.db'), '');
    const againstTuned = () => placed('be rude\n', [`target.model=${join(runsFolder, model)}`]);
    const run = await createRunFolder({
      runsFolder: join(runsFolder, below),
      name: 'again',
      ifTaken: 'refuse',
      configAt: keeping(againstTuned()),
    });
    expect(readFileSync(run.configPath, 'utf8')).toContain('model: ..');
    renameSync(join(runsFolder, 'all'), join(runsFolder, 'moved'));
    const inMoved = (path: string) => join(runsFolder, path.replace('all', 'moved'));
    const same = await sameRun(placed('be rude\n', [`target.model=${inMoved(model)}`]), inMoved(below), 'again');
    expect((await loadRunConfig(same as RunFolder)).target).toMatchObject({ model: inMoved(model) });
    await expect(sameRun(againstTuned(), inMoved(below), 'again')).rejects.toMatchObject({ code: 'run' });
  });

  it('keeps the path of a model that lies elsewhere as it is', async () => {
    const model = join(runsFolder, 'models', 'mine');
    writeFileSync(join(runsFolder, 'config.yaml'), ''); // somebody's project is no run
    const config = placed('be rude\n', [`target.model=${model}`]);
    const run = await createRunFolder({
      runsFolder: join(runsFolder, 'all'),
      name: 'again',
      ifTaken: 'refuse',
      configAt: keeping(config),
    });
    expect(readFileSync(run.configPath, 'utf8')).toContain(`model: ${model}`);
  });
});
