import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { removeStaleLock, type StaleLock } from '../../src/base/lock.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-stale-'));
  path = join(folder, 'lock');
  writeFileSync(path, 'old');
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

const old: StaleLock = { id: 'old', isStill: async (file) => readFileSync(file, 'utf8') === 'old' };

describe('a stale lock', () => {
  it('is removed, and the claim with it', async () => {
    await removeStaleLock(path, old);
    expect(readdirSync(folder)).toEqual([]);
    await removeStaleLock(path, old); // gone already
    expect(readdirSync(folder)).toEqual([]);
  });

  it('that another process took over in the meantime stands at every moment', async () => {
    rmSync(path);
    writeFileSync(path, 'new');
    let isDone = false;
    const late = removeStaleLock(path, old).finally(() => {
      isDone = true;
    });
    // Gone for a moment is long enough for a third process to take it.
    while (!isDone) {
      expect(existsSync(path)).toBe(true);
      await nextTurn();
    }
    await late;
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(readdirSync(folder)).toEqual(['lock']);
  });

  it('is left to the process that claimed it, and claimed again when that one is lost', async () => {
    const claim = `${path}.stale-old`;
    writeFileSync(claim, 'old');
    await removeStaleLock(path, old);
    expect(readdirSync(folder).sort()).toEqual(['lock', 'lock.stale-old']);
    const now = Date.now();
    vi.spyOn(Date, 'now').mockReturnValue(now + 11_000);
    await removeStaleLock(path, old);
    expect(readdirSync(folder)).toEqual(['lock']);
    await removeStaleLock(path, old);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('keeps its place when it cannot be judged again', async () => {
    const isStill = () => Promise.reject(new Error('unreadable'));
    await expect(removeStaleLock(path, { id: 'old', isStill })).rejects.toThrow('unreadable');
    expect(readdirSync(folder)).toEqual(['lock']);
  });
});
