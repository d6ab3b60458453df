import { existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { acquireLock } from '../../../src/base/lock.ts';
import { createManifest, readManifest, writeManifest } from '../../../src/runs/manifest.ts';
import { removeRunFolder } from '../../../src/runs/remove-run.ts';
import { createRunFolder, listRunFolders, openRunFolder } from '../../../src/runs/run-folder.ts';
import { configSha256, loadRunConfig, movableConfig, parseConfig } from '../../../src/stages/campaign/config-load.ts';
import { minimalConfigText } from '../minimal-config.ts';

const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });
let runsFolder: string;
beforeEach(() => {
  runsFolder = join(mkdtempSync(join(tmpdir(), 'floodgate-runs-')), 'runs');
});

const create = (name: string, ifTaken: 'refuse' | 'number' = 'refuse') =>
  createRunFolder({ runsFolder, name, ifTaken, configAt: (path) => movableConfig(config, path) });

describe('createRunFolder', () => {
  it('keeps the resolved config, which reads back as the same config', async () => {
    const folder = await create('first');
    expect(await loadRunConfig(folder)).toEqual(config);
  });

  it('keeps any meta-prompt exactly', async () => {
    const folder = await create('first');
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1 }), async (metaPrompt) => {
        const changed = { ...config, attacker: { ...config.attacker, metaPrompt } };
        await removeRunFolder(folder);
        await createRunFolder({ runsFolder, name: 'first', ifTaken: 'refuse', configAt: () => changed });
        expect((await loadRunConfig(folder)).attacker.metaPrompt).toBe(metaPrompt);
      }),
      { numRuns: 25 },
    );
  });

  it('refuses a chosen name that is taken, and numbers a derived one', async () => {
    await create('first');
    await expect(create('first')).rejects.toThrow(/a run of this name exists/);
    expect((await create('first', 'number')).name).toBe('first-2');
    expect((await create('first', 'number')).name).toBe('first-3');
  });

  it('gives each of many racers a whole folder of its own, and leaves nothing beside', async () => {
    const folders = await Promise.all(Array.from({ length: 8 }, () => create('first', 'number')));
    expect(new Set(folders.map(({ name }) => name)).size).toBe(8);
    for (const folder of folders) expect(await loadRunConfig(folder)).toEqual(config);
    expect(readdirSync(runsFolder).sort()).toEqual(folders.map(({ name }) => name).sort());
  });

  it.each(['../up', '.hidden', 'a/b', '', 'x'.repeat(200)])('refuses the name %j', async (name) => {
    await expect(create(name)).rejects.toThrow(/run name: got/);
  });
});

describe('openRunFolder', () => {
  it('finds a run by name, as run:NAME and by path', async () => {
    const folder = await create('first');
    for (const spec of ['first', 'run:first', folder.path])
      expect((await openRunFolder(spec, runsFolder)).path).toBe(folder.path);
    await expect(openRunFolder('second', runsFolder)).rejects.toThrow(/no such run/);
    await expect(openRunFolder('run:..', runsFolder)).rejects.toThrow(/run name: got/);
  });
});

describe('listRunFolders', () => {
  it('lists runs only', async () => {
    expect(await listRunFolders(runsFolder)).toEqual([]);
    await create('b');
    await create('a');
    mkdirSync(join(runsFolder, 'no-run'));
    const killed = join(runsFolder, '.c.partial-1-00000000-0000-4000-8000-000000000000'); // left by a killed process
    mkdirSync(killed);
    writeFileSync(join(killed, 'config.yaml'), '');
    writeFileSync(join(runsFolder, 'file'), '');
    expect((await listRunFolders(runsFolder)).map(({ name }) => name)).toEqual(['a', 'b']);
  });
});

describe('removeRunFolder', () => {
  it('removes a free run, not one in use, not the other end of a link', async () => {
    const folder = await create('first');
    const lock = await acquireLock(folder.lockPath);
    await expect(removeRunFolder(folder)).rejects.toThrow(/in use/);
    await lock.release();
    symlinkSync(folder.path, join(runsFolder, 'link'));
    await expect(openRunFolder('link', runsFolder).then(removeRunFolder)).rejects.toThrow(/is a link/);
    await removeRunFolder(folder);
    expect(existsSync(folder.path)).toBe(false);
  });
});

describe('manifest', () => {
  it('names everything that decides a run, and reads back', async () => {
    const folder = await create('first');
    const manifest = createManifest({
      run: folder.name,
      authorisation: config.authorisation,
      createdMs: 0,
      versions: { floodgate: '0.2.0' },
      seed: 0,
      threads: 2,
      devices: { attacker: 'cpu' },
      configSha256: configSha256(config),
      seedsSha256: 'ab',
      models: [{ role: 'attacker', spec: config.attacker.model, sha256: 'cd' }],
      judges: { training: 'alt-profanity-check', evaluation: ['tox-block'] },
      decode: { training: { responses: 5 }, evaluation: { responses: 5 } },
      unsafeFloor: config.reward.unsafeFloor,
    });
    await writeManifest(folder.manifestPath, manifest);
    expect(await readManifest(folder.manifestPath)).toEqual(manifest);
    expect(manifest).toMatchObject({
      createdAt: '1970-01-01T00:00:00.000Z',
      versions: { node: process.versions.node },
      machine: { cores: expect.any(Number) },
    });
    writeFileSync(folder.manifestPath, '{"manifestVersion": 2}');
    await expect(readManifest(folder.manifestPath)).rejects.toThrow(/read manifest .*configSha256/s);
  });

  it('of another version is refused, before the config is read, with that version named', async () => {
    const folder = await create('first');
    writeFileSync(folder.manifestPath, '{"manifestVersion": 1, "versions": {"floodgate": "0.1.0"}}');
    writeFileSync(folder.configPath, 'a key: of another version');
    await expect(loadRunConfig(folder)).rejects.toMatchObject({
      message: expect.stringContaining('the run was written by floodgate 0.1.0'),
      hint: expect.stringContaining('use floodgate 0.1.0'),
    });
  });

  it('hashes a config whatever the order of its keys', () => {
    const reordered = Object.fromEntries(Object.entries(config).reverse()) as typeof config;
    expect(configSha256(reordered)).toBe(configSha256(config));
    expect(configSha256({ ...config, seed: 1 })).not.toBe(configSha256(config));
  });
});
