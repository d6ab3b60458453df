import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acquireLock } from '../../src/base/lock.ts';
import { removeRunFolder } from '../../src/runs/remove-run.ts';
import { createRunFolder, openRunFolder, type RunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';

const config = { authorisation: 'own models', attacker: {}, target: {}, judges: {} };
const home = process.cwd();
let runsFolder: string;
beforeEach(() => {
  runsFolder = join(mkdtempSync(join(tmpdir(), 'floodgate-remove-')), 'runs');
});
afterEach(() => process.chdir(home));

const create = (name = 'first'): Promise<RunFolder> =>
  createRunFolder({ runsFolder, name, ifTaken: 'refuse', configAt: () => config });

/** Somebody's folder with these files. */
function project(files: Readonly<Record<string, string>>): string {
  const path = join(runsFolder, 'project');
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, '..'), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return path;
}

const filesIn = (path: string): string[] => readdirSync(path, { recursive: true, encoding: 'utf8' }).sort();

/** All that a run may leave in its folder. */
async function fillRun(folder: RunFolder): Promise<void> {
  (await openStore(folder.databasePath)).close();
  for (const name of ['tuned/sft/model', 'robustness/sft/ppo', 'checkpoints'])
    mkdirSync(join(folder.path, name), { recursive: true });
  for (const name of [
    'checkpoints/sft-000001.safetensors',
    'tuned/sft/model/model.safetensors',
    'manifest.json',
    'report.json',
    'report.html',
    'attack-map.json',
    'resume.log',
    'run.db-wal',
    'run.db-shm',
    '.report.json.partial-1-00000000-0000-4000-8000-000000000000',
    'lock.00000000-0000-4000-8000-000000000000',
    'lock.db',
  ])
    writeFileSync(join(folder.path, name), '', { flag: 'a' }); // SQLite may still have the log mapped
}

describe('openRunFolder', () => {
  it.each([
    ['another config', { 'config.yaml': 'site: x', 'src/thesis.tex': 'precious' }],
    ['another config beside checkpoints', { 'config.yaml': 'model: x', 'checkpoints/step-1.bin': 'precious' }],
    ['a config of ours alone', { 'config.yaml': JSON.stringify(config), 'notes.md': 'precious' }],
    ['another database', { 'config.yaml': 'site: x', 'run.db': `SQLite format 3\0${'\0'.repeat(84)}` }],
    ['another manifest', { 'config.yaml': 'site: x', 'manifest.json': '{"name": "app", "version": 2}' }],
    ['no YAML', { 'config.yaml': '['.repeat(1000), 'checkpoints/a': '' }],
  ])('refuses a folder with %s', async (_what, files) => {
    const path = project(files);
    const before = filesIn(path);
    await expect(openRunFolder(path, runsFolder)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('no run of Floodgate'),
    });
    expect(filesIn(path)).toEqual(before);
  });

  it('knows a new run, and one that lost its config, database or manifest to damage', async () => {
    const folder = await create();
    const opens = async () => expect((await openRunFolder('first', runsFolder)).path).toBe(folder.path);
    await opens();
    writeFileSync(folder.databasePath, 'damaged');
    writeFileSync(folder.manifestPath, 'damaged');
    await opens();
    writeFileSync(folder.configPath, 'damaged');
    writeFileSync(folder.manifestPath, '{"manifestVersion": 1, "versions": {"floodgate": "0.1.0"}}');
    await opens();
    rmSync(folder.manifestPath);
    rmSync(folder.databasePath);
    (await openStore(folder.databasePath)).close();
    await opens();
  });
});

describe('removeRunFolder', () => {
  it('deletes all that a run leaves', async () => {
    const folder = await create();
    await fillRun(folder);
    await removeRunFolder(folder);
    expect(existsSync(folder.path)).toBe(false);
  });

  it('deletes nothing when a file of somebody else is in the folder', async () => {
    const folder = await create();
    await fillRun(folder);
    writeFileSync(join(folder.path, 'thesis.tex'), 'precious');
    const before = filesIn(folder.path);
    await expect(removeRunFolder(folder)).rejects.toMatchObject({
      message: expect.stringContaining('thesis.tex'),
      hint: expect.stringContaining('move'),
    });
    expect(filesIn(folder.path)).toEqual(before);
  });

  it('refuses a folder that is no run, however it was reached', async () => {
    const folder = await create();
    writeFileSync(folder.configPath, 'site: x');
    await expect(removeRunFolder(folder)).rejects.toThrow(/no run of Floodgate/);
    expect(existsSync(folder.checkpointsPath)).toBe(true);
  });

  it('refuses the working folder and the folders around it', async () => {
    const folder = await create();
    for (const place of [folder.path, folder.checkpointsPath]) {
      process.chdir(place);
      await expect(removeRunFolder(folder)).rejects.toThrow(/working folder/);
    }
    process.chdir(runsFolder);
    await removeRunFolder(folder);
    expect(existsSync(folder.path)).toBe(false);
  });

  it('holds the lock of the run, and refuses one in use and the other end of a link', async () => {
    const folder = await create();
    const lock = await acquireLock(folder.lockPath);
    await expect(removeRunFolder(folder)).rejects.toMatchObject({
      code: 'run',
      message: expect.stringMatching(/in use/),
    });
    await lock.release();
    symlinkSync(folder.path, join(runsFolder, 'link'));
    await expect(openRunFolder('link', runsFolder).then(removeRunFolder)).rejects.toThrow(/is a link/);
    expect(existsSync(folder.configPath)).toBe(true);
    const [first, second] = await Promise.allSettled([removeRunFolder(folder), removeRunFolder(folder)]);
    expect([first.status, second.status]).toContain('fulfilled');
    expect(existsSync(folder.path)).toBe(false);
  });

  it('removes a link inside the run, and not the other end of it', async () => {
    const folder = await create();
    const path = project({ 'precious.txt': 'kept' });
    symlinkSync(path, join(folder.path, 'tuned'));
    await removeRunFolder(folder);
    expect(filesIn(path)).toEqual(['precious.txt']);
  });
});
