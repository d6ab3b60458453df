import { randomUUID } from 'node:crypto';
import { mkdir, readFile, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { nowMs } from '../../base/clock.ts';
import { removeStaleLock } from '../../base/stale-lock.ts';
import { waitUnlessInterrupted } from './model-source.ts';

/** Interval at which the holder shows that it is alive. */
const HEARTBEAT_MS = 5_000;
/** A lock that was not touched for this long belongs to nobody (another host, or a reused process id). */
const STALE_AFTER_MS = 60_000;
const POLL_MS = 200;

export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once when another process holds the lock, with its process id. */
  readonly onWait?: (pid: number) => void;
}

interface Holder {
  readonly pid: number;
  readonly host: string;
  readonly id: string;
}

/**
 * Runs `work` while no other process holds the lock file at `path`. A lock left by a killed process is taken over.
 * @throws FloodgateError `interrupted` when the signal is raised while waiting.
 */
export async function withPullLock<T>(path: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  const self: Holder = { pid: process.pid, host: hostname(), id: randomUUID() };
  await mkdir(dirname(path), { recursive: true });
  let hasTold = false;
  while (!(await tryTake(path, self))) {
    const holder = await readHolder(path);
    if (holder !== undefined && !hasTold) {
      hasTold = true;
      options.onWait?.(holder.pid);
    }
    await waitUnlessInterrupted(POLL_MS, options.signal, 'wait for another pull of this model');
  }
  const heartbeat = setInterval(() => void touch(path), HEARTBEAT_MS);
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    if ((await readHolder(path))?.id === self.id) await unlink(path);
  }
}

async function touch(path: string): Promise<void> {
  const now = nowMs() / 1000;
  await utimes(path, now, now).catch(() => undefined); // taken over while this process slept: nothing to show
}

async function tryTake(path: string, self: Holder): Promise<boolean> {
  try {
    await writeFile(path, JSON.stringify(self), { flag: 'wx' });
    return true;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
  if (await isAbandoned(path)) await removeAbandoned(path);
  return false;
}

/** It becomes part of a file's name. */
const isId = (id: unknown): boolean => typeof id === 'string' && /^[\w-]{1,64}$/.test(id);

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const { pid, host, id } = value as Partial<Record<keyof Holder, unknown>>;
    const isHolder = Number.isSafeInteger(pid) && typeof host === 'string' && isId(id);
    return isHolder ? { pid: pid as number, host: host as string, id: id as string } : undefined;
  } catch {
    return undefined; // being written or just released
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  const age = await stat(path).then(
    ({ mtimeMs }) => nowMs() - mtimeMs,
    () => 0,
  );
  if (age > STALE_AFTER_MS) return true;
  const holder = await readHolder(path);
  return holder !== undefined && holder.host === hostname() && !isAlive(holder.pid);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 asks, it ends nothing
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Removes an abandoned lock. An unreadable lock has no id; only its age identifies it. */
async function removeAbandoned(path: string): Promise<void> {
  const id = (await readHolder(path))?.id;
  await removeStaleLock(path, {
    id: id ?? 'unreadable',
    isStill: async (claimed) => (await readHolder(claimed))?.id === id && (await isAbandoned(claimed)),
  });
}
