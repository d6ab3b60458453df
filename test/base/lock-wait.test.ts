import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withLock } from '../../src/base/lock.ts';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-lock-'));
  path = join(folder, 'locks', 'model.lock');
  await withLock(path, {}, async () => undefined); // makes the folder
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const holderOf = (pid: number, host = hostname()) =>
  JSON.stringify({ pid, processStart: null, host, sinceMs: 0, token: 'another' });

describe('a lock that is waited for', () => {
  it('lets one in at a time, and is released by failure too', async () => {
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside--;
      throw new Error('done');
    };
    const all = await Promise.allSettled([1, 2, 3].map(() => withLock(path, {}, work)));
    expect(all.every(({ status }) => status === 'rejected')).toBe(true);
    expect(most).toBe(1);
    expect(await readdir(join(folder, 'locks'))).toEqual([]);
  });

  it('waits for a living process, says for whom, and can be told to stop waiting', async () => {
    await writeFile(path, holderOf(process.pid));
    const stop = new AbortController();
    const waited: number[] = [];
    const work = withLock(path, { signal: stop.signal, onWait: (pid) => void waited.push(pid) }, async () => 1);
    setTimeout(() => stop.abort(), 500);
    await expect(work).rejects.toMatchObject({ code: 'interrupted' });
    expect(waited).toEqual([process.pid]);
  });

  it('is taken over from a process that is gone', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'close');
    await writeFile(path, holderOf(child.pid ?? 0));
    expect(await withLock(path, {}, async () => 'mine')).toBe('mine');
  });

  it('is taken over by one of many that wait, time after time', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'close');
    for (let round = 0; round < 10; round++) {
      await writeFile(path, holderOf(child.pid ?? 0));
      let inside = 0;
      const work = async (): Promise<void> => {
        expect(++inside).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 2));
        inside--;
      };
      await Promise.all([1, 2, 3].map(() => withLock(path, {}, work)));
      expect(await readdir(join(folder, 'locks'))).toEqual([]);
    }
  });

  it('that cannot be read is taken over by its age', async () => {
    await writeFile(path, '{');
    const longAgo = new Date(2020, 0);
    await utimes(path, longAgo, longAgo);
    expect(await withLock(path, {}, async () => 'mine')).toBe('mine');
    expect(await readdir(join(folder, 'locks'))).toEqual([]);
  });

  it('is taken over from another host that has long shown no life', async () => {
    await writeFile(path, holderOf(1, 'elsewhere'));
    const longAgo = new Date(2020, 0);
    await utimes(path, longAgo, longAgo);
    expect(await withLock(path, {}, async () => 'mine')).toBe('mine');
  });
});
