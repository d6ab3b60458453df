import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRunFolder } from '../../src/runs/run-folder.ts';

let parent: string;
beforeEach(() => {
  parent = join(mkdtempSync(join(tmpdir(), 'floodgate-place-')), 'runs');
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

const create = (name: string) =>
  createRunFolder({ runsFolder: parent, name, ifTaken: 'refuse', configAt: () => ({ authorisation: 'a test' }) });

it('the folder of a run may be entered by its user only', async () => {
  const { path } = await create('first');
  if (process.platform !== 'win32') expect((statSync(path).mode & 0o777).toString(8)).toBe('700');
});

describe('what a killed start leaves', () => {
  const UUID = '00000000-0000-4000-8000-000000000000';
  const leave = (name: string, ageMs: number): string => {
    const path = join(parent, name);
    mkdirSync(join(path, 'checkpoints'), { recursive: true });
    writeFileSync(join(path, 'config.yaml'), '');
    const at = (Date.now() - ageMs) / 1000;
    utimesSync(path, at, at);
    return path;
  };
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  const HOURS = 2 * 3_600_000;

  it('is removed by the next start', async () => {
    const path = leave(`.first.partial-${dead}-${UUID}`, HOURS);
    await create('first');
    expect(existsSync(path)).toBe(false);
  });

  it.each([
    ['a process that lives', `.first.partial-${process.pid}-${UUID}`, HOURS],
    ['a process that may live in another container', `.first.partial-${dead}-${UUID}`, 60_000],
    ['somebody else', `.first.partial-${dead}`, HOURS],
    ['a run', `first.partial-${dead}-${UUID}`, HOURS],
  ])('stays when it is of %s', async (_whose, name, ageMs) => {
    leave(name, ageMs);
    await create('second');
    expect(readdirSync(parent).sort()).toEqual([name, 'second'].sort());
  });
});
