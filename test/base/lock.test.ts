import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { acquireLock, lockHolder } from '../../src/base/lock.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-lock-'));
  path = join(folder, 'lock');
});

const deadPid = (): number => spawnSync(process.execPath, ['-e', '']).pid;
const leave = (owner: object) =>
  writeFileSync(
    path,
    JSON.stringify({ pid: process.pid, processStart: null, host: hostname(), sinceMs: 0, token: 't', ...owner }),
  );

describe('acquireLock', () => {
  it('refuses a folder in use, and says by whom', async () => {
    const lock = await acquireLock(path);
    expect(await lockHolder(path)).toBe(process.pid);
    await expect(acquireLock(path)).rejects.toThrow(new RegExp(`in use by process ${process.pid} since`));
    await lock.release();
    await lock.release();
    expect(readdirSync(folder)).toEqual([]);
    await (await acquireLock(path)).release();
  });

  it('takes over from a process that is gone', async () => {
    leave({ pid: deadPid() });
    expect(await lockHolder(path)).toBeUndefined();
    const lock = await acquireLock(path);
    expect(readdirSync(folder)).toEqual(['lock']);
    await lock.release();
  });

  it.runIf(existsSync('/proc/self/stat'))('takes over when the number belongs to a later process', async () => {
    leave({ processStart: '1' });
    const lock = await acquireLock(path);
    const owner = JSON.parse(readFileSync(path, 'utf8'));
    expect(owner).toMatchObject({ pid: process.pid, processStart: expect.stringMatching(/^\d{2,}$/) });
    expect(owner.token).not.toBe('t');
    await lock.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('lets one of many racers win over a stale lock, time after time', async () => {
    const pid = deadPid();
    for (let round = 0; round < 60; round++) {
      leave({ pid, token: `stale-${round}` });
      const outcomes = await Promise.allSettled(Array.from({ length: 12 }, () => acquireLock(path)));
      const won = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
      expect(won, `round ${round}`).toHaveLength(1);
      expect(readdirSync(folder)).toEqual(['lock']);
      await won[0]?.release();
    }
  });

  it('does not judge a process on another machine', async () => {
    leave({ host: 'elsewhere', pid: deadPid() });
    await expect(acquireLock(path)).rejects.toThrow(/on elsewhere/);
  });

  it('takes a token that is no name of a file for damage', async () => {
    leave({ pid: deadPid(), token: '../elsewhere' });
    await expect(acquireLock(path)).rejects.toThrow(/damaged/);
    expect(readdirSync(folder)).toEqual(['lock']);
  });

  it('names a damaged lock file, and leaves it', async () => {
    writeFileSync(path, '{');
    await expect(acquireLock(path)).rejects.toThrow(/damaged/);
    expect(readFileSync(path, 'utf8')).toBe('{');
  });

  it('never releases the lock of another', async () => {
    const lock = await acquireLock(path);
    leave({ token: 'of-another' });
    await lock.release();
    expect(existsSync(path)).toBe(true);
  });
});
