import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import * as files from 'node:fs/promises';
import { hostname, tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { takeKernelLock } from '../../src/base/kernel-lock.ts';
import { acquireLock, lockDatabaseOf, lockHolder } from '../../src/base/lock.ts';

vi.mock('node:fs/promises', { spy: true });

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-lock-'));
  path = join(folder, 'lock');
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

const deadPid = (): number => spawnSync(process.execPath, ['-e', '']).pid;
const here = async (): Promise<object> => {
  const lock = await acquireLock(join(folder, 'here'));
  const owner = JSON.parse(readFileSync(join(folder, 'here'), 'utf8'));
  await lock.release();
  rmSync(lockDatabaseOf(join(folder, 'here')));
  return owner;
};
const leave = async (owner: object) => writeFileSync(path, JSON.stringify({ ...(await here()), token: 't', ...owner }));
const otherNamespace = { pidNamespace: 'pid:[1]' };

describe('acquireLock', () => {
  it('refuses a folder in use, and says by whom', async () => {
    const lock = await acquireLock(path);
    expect(await lockHolder(path)).toBe(process.pid);
    await expect(acquireLock(path)).rejects.toThrow(new RegExp(`in use by process ${process.pid} since`));
    await lock.release();
    await lock.release();
    expect(await lockHolder(path)).toBeUndefined();
    await (await acquireLock(path)).release();
    expect(readdirSync(folder).map((name) => join(folder, name))).toEqual([lockDatabaseOf(path)]);
  });

  it('takes over from a process that is gone', async () => {
    await leave({ pid: deadPid() });
    expect(await lockHolder(path)).toBeUndefined();
    const lock = await acquireLock(path);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ pid: process.pid });
    expect(readdirSync(folder)).toEqual(['lock', 'lock.db']);
    await lock.release();
  });

  it('takes over when the number belongs to a later process', async () => {
    await leave({ pid: process.pid });
    expect(await lockHolder(path)).toBeUndefined();
    const lock = await acquireLock(path);
    expect(JSON.parse(readFileSync(path, 'utf8')).token).not.toBe('t');
    await lock.release();
  });

  it('lets one of many racers win over a stale lock, time after time', async () => {
    const pid = deadPid();
    for (let round = 0; round < 10; round++) {
      await leave({ pid, token: `stale-${round}` });
      const outcomes = await Promise.allSettled(Array.from({ length: 12 }, () => acquireLock(path)));
      const won = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
      expect(won, `round ${round}`).toHaveLength(1);
      expect(readdirSync(folder)).toEqual(['lock', 'lock.db']);
      await won[0]?.release();
    }
  });

  it('leaves a takeover to the process that began it, however long that sleeps', async () => {
    await leave({ pid: deadPid() });
    const sleeper = await takeKernelLock(`${path}.db`);
    const now = Date.now();
    vi.spyOn(Date, 'now').mockReturnValue(now + 3_600_000);
    await expect(acquireLock(path)).rejects.toThrow(/in use by/);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ token: 't' });
    sleeper?.release();
  });

  it('has its name in place at every moment while others look and try', async () => {
    const lock = await acquireLock(path);
    let isDone = false;
    const others = Promise.allSettled([acquireLock(path), acquireLock(path), lockHolder(path)]).finally(() => {
      isDone = true;
    });
    while (!isDone) {
      expect(existsSync(path)).toBe(true);
      await nextTurn();
    }
    expect((await others).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
    await lock.release();
  });

  it('takes a token that is no name of a file for damage', async () => {
    await leave({ pid: deadPid(), token: '../elsewhere' });
    await expect(acquireLock(path)).rejects.toThrow(/damaged/);
    expect(readdirSync(folder)).toEqual(['lock', 'lock.db']);
  });

  it('names a damaged lock file, and leaves it', async () => {
    writeFileSync(path, '{');
    await expect(acquireLock(path)).rejects.toThrow(/damaged/);
    expect(readFileSync(path, 'utf8')).toBe('{');
  });

  it('never releases the lock of another', async () => {
    const lock = await acquireLock(path);
    await leave({ token: 'of-another' });
    await lock.release();
    expect(existsSync(path)).toBe(true);
  });

  it('works where the file system has no hard links', async () => {
    const refusal = Object.assign(new Error('operation not permitted'), { code: 'EPERM' });
    vi.spyOn(files, 'link').mockRejectedValue(refusal);
    await leave({ pid: deadPid() });
    const lock = await acquireLock(path);
    expect(await lockHolder(path)).toBe(process.pid);
    await expect(acquireLock(path)).rejects.toThrow(/in use/);
    await lock.release();
  });
});

describe('a lock from another container', () => {
  it('holds although no process here has its number', async () => {
    const lock = await acquireLock(path);
    await leave({ pid: deadPid(), ...otherNamespace });
    expect(await lockHolder(path)).toBeDefined();
    await expect(acquireLock(path)).rejects.toThrow(/in use by process \d+ in another container since/);
    await leave({}); // our name again, under a token that is not ours
    await lock.release();
  });

  it('is taken over at once when its process is gone, although its number is in use here', async () => {
    await leave({ pid: process.pid, ...otherNamespace });
    expect(await lockHolder(path)).toBeUndefined();
    await (await acquireLock(path)).release();
  });

  it('holds when its file was removed by hand', async () => {
    const lock = await acquireLock(path);
    rmSync(path);
    await expect(acquireLock(path)).rejects.toThrow(/in use by another process/);
    await lock.release();
  });
});

describe('a lock from another machine', () => {
  const lastSign = (atMs: number): void => utimesSync(path, atMs / 1000, atMs / 1000);
  const bootMs = (): number => Date.now() - uptime() * 1000;

  it('is not judged', async () => {
    await leave({ host: 'elsewhere', bootId: 'another', pid: deadPid(), sinceMs: 0 });
    lastSign(0);
    expect(await lockHolder(path)).toBeDefined();
    const refused = await acquireLock(path).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      message: expect.stringMatching(/on elsewhere/),
      hint: expect.stringMatching(/remove/),
    });
  });

  it('of the same name is that of this one before it booted, unless it has shown life since', async () => {
    const left = { host: hostname(), bootId: 'another', pid: process.pid };
    await leave({ ...left, sinceMs: bootMs() - 60_000 });
    lastSign(bootMs() + 60_000);
    await expect(acquireLock(path)).rejects.toThrow(/in use by process/);
    lastSign(bootMs() - 60_000);
    expect(await lockHolder(path)).toBeUndefined();
    await (await acquireLock(path)).release();
  });

  it('is judged in the same way when its place is not known', async () => {
    const text = JSON.stringify({
      pid: deadPid(),
      processStart: null,
      host: hostname(),
      sinceMs: Date.now(),
      token: 't',
    });
    writeFileSync(path, text);
    await expect(acquireLock(path)).rejects.toThrow(/in use by process/);
    expect(readFileSync(path, 'utf8')).toBe(text);
    writeFileSync(path, text.replace(/"sinceMs":\d+/, '"sinceMs":0'));
    lastSign(0);
    await (await acquireLock(path)).release();
  });
});

it('a lock shows life while it is held', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const lock = await acquireLock(path);
  utimesSync(path, 0, 0);
  await vi.advanceTimersByTimeAsync(6_000);
  vi.useRealTimers();
  await vi.waitFor(async () => expect((await files.stat(path)).mtimeMs).toBeGreaterThan(0));
  await lock.release();
});
