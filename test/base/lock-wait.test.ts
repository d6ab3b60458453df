import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { takeKernelLock } from '../../src/base/kernel-lock.ts';
import { withLock } from '../../src/base/lock.ts';

let folder: string;
let path: string;
/** Of this process, as a lock names it. */
let place: object;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-lock-'));
  path = join(folder, 'locks', 'model.lock');
  await withLock(path, {}, async () => {
    place = JSON.parse(await readFile(path, 'utf8'));
  });
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const holderOf = (pid: number, changes: object = {}) =>
  JSON.stringify({ ...place, pid, sinceMs: 0, token: 'another', ...changes });
const elsewhere = { host: 'elsewhere', bootId: 'another' };
const LEFT = ['model.lock.db'];

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
    expect(await readdir(join(folder, 'locks'))).toEqual(LEFT);
  });

  it('waits for a living process, says for whom, and can be told to stop waiting', async () => {
    const held = await takeKernelLock(`${path}.db`);
    await writeFile(path, holderOf(process.pid));
    const longAgo = new Date(2020, 0); // a process that computes or is suspended shows no life
    await utimes(path, longAgo, longAgo);
    const stop = new AbortController();
    const waited: number[] = [];
    const work = withLock(path, { signal: stop.signal, onWait: (pid) => void waited.push(pid) }, async () => 1);
    setTimeout(() => stop.abort(), 500);
    await expect(work).rejects.toMatchObject({ code: 'interrupted' });
    expect(waited).toEqual([process.pid]);
    held?.release();
  });

  it('waits for a process in another container', async () => {
    const held = await takeKernelLock(`${path}.db`);
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'close');
    await writeFile(path, holderOf(child.pid ?? 0, { pidNamespace: 'pid:[1]' }));
    const order: string[] = [];
    setTimeout(() => {
      order.push('released');
      held?.release();
    }, 500);
    await withLock(path, {}, async () => void order.push('mine'));
    expect(order).toEqual(['released', 'mine']);
  });

  it('waits for another machine while that shows life', async () => {
    await writeFile(path, holderOf(1, elsewhere));
    const work = withLock(path, { signal: AbortSignal.timeout(500) }, async () => 1);
    await expect(work).rejects.toMatchObject({ code: 'interrupted' });
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
      expect(await readdir(join(folder, 'locks'))).toEqual(LEFT);
    }
  });

  it('that cannot be read is taken over by its age', async () => {
    await writeFile(path, '{');
    const longAgo = new Date(2020, 0);
    await utimes(path, longAgo, longAgo);
    expect(await withLock(path, {}, async () => 'mine')).toBe('mine');
    expect(await readdir(join(folder, 'locks'))).toEqual(LEFT);
  });

  it('is taken over from another host that has long shown no life', async () => {
    await writeFile(path, holderOf(1, elsewhere));
    const longAgo = new Date(2020, 0);
    await utimes(path, longAgo, longAgo);
    expect(await withLock(path, {}, async () => 'mine')).toBe('mine');
  });
});
