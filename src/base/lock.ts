import { randomUUID } from 'node:crypto';
import { constants, copyFile, link, mkdir, open, readFile, readlink, rm, stat, utimes } from 'node:fs/promises';
import { hostname, uptime } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { toWriteError } from './atomic-file.ts';
import { nowMs } from './clock.ts';
import { FloodgateError } from './errors.ts';
import { isKernelLocked, type KernelLock, takeKernelLock } from './kernel-lock.ts';

/**
 * A lock is two files. `PATH.db` carries the kernel's lock, which decides on this machine whether anybody holds it.
 * `PATH` names the holder: for messages, and for other machines where the file system does not share locks. It exists
 * while the lock is held.
 */
const ownerSchema = z.object({
  pid: z.number().int().positive(),
  host: z.string(),
  /** One for each boot of a Linux kernel, shared by its containers. Null elsewhere; absent in locks without `PATH.db`. */
  bootId: z.string().nullable().optional(),
  /** The numbers of processes count inside it only. */
  pidNamespace: z.string().nullable().optional(),
  sinceMs: z.number(),
  /** It is part of a file's name. */
  token: z.string().regex(/^[\w-]{1,64}$/),
});
type Owner = z.infer<typeof ownerSchema>;
type Place = Pick<Owner, 'host' | 'bootId' | 'pidNamespace'>;

export interface Lock {
  /** Gives the lock back. Safe to call twice, and never removes a lock that another process has taken since. */
  release(): Promise<void>;
}

async function placeOfThisProcess(): Promise<Place> {
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => null);
  const pidNamespace = await readlink('/proc/self/ns/pid').catch(() => null);
  return { host: hostname(), bootId: bootId?.trim() ?? null, pidNamespace };
}

/** True when the owner runs, or ran, on the kernel of this process, so that the kernel's lock tells of it. */
function isSameKernel(owner: Place, here: Place): boolean {
  if (owner.bootId === undefined) return false;
  if (owner.bootId !== null || here.bootId !== null) return owner.bootId === here.bootId;
  return process.platform !== 'linux' && owner.host === here.host; // no containers share a disk there
}

/** When the holder last showed that it is alive. */
async function lastSignMs(path: string, owner: Owner | undefined): Promise<number> {
  const touched = await stat(path).catch(() => undefined);
  return Math.max(touched?.mtimeMs ?? 0, owner?.sinceMs ?? 0);
}

/**
 * True when the owner is gone, given that nobody has the kernel's lock. An owner on another kernel is gone when its
 * machine, by its name, has booted since it last showed life. Else that cannot be known from here.
 */
async function isGone(path: string, owner: Owner): Promise<boolean> {
  const here = await placeOfThisProcess();
  if (isSameKernel(owner, here)) return true;
  if (owner.host !== here.host) return false;
  return (await lastSignMs(path, owner)) < nowMs() - uptime() * 1000;
}

/** The lock's owner; undefined when it is free. */
async function readOwner(path: string): Promise<Owner | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FloodgateError('run', `lock ${path}: the lock file is damaged`, {
      cause,
      hint: `when no other process works here, remove ${path}`,
    });
  }
}

/** Codes of file systems without hard links: exFAT, some network shares. */
const NO_LINKS = ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'];

/** Gives the file its second name, all of its content at once where the file system can; never over another's. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!NO_LINKS.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    await copyFile(from, to, constants.COPYFILE_EXCL);
  }
}

/** True when our name is now at `path`; false when another machine's is. */
async function placeOwner(path: string, owner: Owner): Promise<boolean> {
  const temporary = `${path}.${owner.token}`;
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(JSON.stringify(owner));
      await file.sync();
    } finally {
      await file.close();
    }
    await linkOrCopy(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw toWriteError(path, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Interval at which the holder shows that it is alive. */
const HEARTBEAT_MS = 5_000;

async function touch(path: string): Promise<void> {
  const now = nowMs() / 1000;
  await utimes(path, now, now).catch(() => undefined); // removed by hand: nothing to show
}

/** The lock of this process, once its name is at `path`. */
function createLock(path: string, owner: Owner, kernelLock: KernelLock): Lock {
  const heartbeat = setInterval(() => void touch(path), HEARTBEAT_MS);
  heartbeat.unref();
  const release = async (): Promise<void> => {
    clearInterval(heartbeat);
    try {
      const holder = await readOwner(path).catch(() => undefined); // damaged: not ours
      if (holder?.token === owner.token) await rm(path, { force: true });
    } finally {
      kernelLock.release();
    }
  };
  return { release };
}

/** Who keeps us from the lock; `owner` is undefined when the holder gave no name that can be read. */
interface Refused {
  readonly owner: Owner | undefined;
  /** Whether a process has the kernel's lock. */
  readonly isRunning: boolean;
}

/** The file that a lock leaves when it is given back. Remove it only where nobody takes that lock again. */
export function lockDatabaseOf(path: string): string {
  return `${path}.db`;
}

/**
 * One try to take the lock. While we have the kernel's lock, nobody else on this machine removes or writes the owner.
 * @param isStale whether the lock of an owner that nobody runs here is to be taken over.
 */
async function tryLock(path: string, isStale: () => Promise<boolean>): Promise<Lock | Refused> {
  const kernelLock = await takeKernelLock(lockDatabaseOf(path));
  if (kernelLock === undefined) return { owner: await readOwner(path).catch(() => undefined), isRunning: true };
  let lock: Lock | undefined;
  try {
    if (await isStale()) await rm(path, { force: true });
    const { pid } = process;
    const owner = { ...(await placeOfThisProcess()), pid, sinceMs: nowMs(), token: randomUUID() };
    if (!(await placeOwner(path, owner))) {
      return { owner: await readOwner(path).catch(() => undefined), isRunning: false };
    }
    lock = createLock(path, owner, kernelLock);
    return lock;
  } finally {
    if (lock === undefined) kernelLock.release();
  }
}

/** A process that only looks at a lock has it for a moment; so has one that judges whose it is. */
const TRIES = 8;
const BETWEEN_TRIES_MS = 25;

/**
 * Takes the lock at `path`. The lock of a process that is gone is taken over.
 * @throws FloodgateError `run` when another process holds it; `store` when the folder cannot be written.
 */
export async function acquireLock(path: string): Promise<Lock> {
  const isStale = async (): Promise<boolean> => {
    const owner = await readOwner(path);
    return owner !== undefined && (await isGone(path, owner));
  };
  for (let tried = 1; ; tried++) {
    const result = await tryLock(path, isStale);
    if ('release' in result) return result;
    if (tried === TRIES || !result.isRunning) throw await inUse(path, result);
    await sleep(BETWEEN_TRIES_MS);
  }
}

async function inUse(path: string, { owner, isRunning }: Refused): Promise<FloodgateError> {
  const here = await placeOfThisProcess();
  const isHere = owner !== undefined && isSameKernel(owner, here);
  const isOfOurs = isHere && owner.pidNamespace === here.pidNamespace;
  const where = isOfOurs ? '' : isHere ? ' in another container' : ` on ${owner?.host}`;
  const who =
    owner === undefined
      ? 'another process'
      : `process ${owner.pid}${where} since ${new Date(owner.sinceMs).toISOString()}`;
  const stop = isOfOurs ? 'stop it with Ctrl-C in its terminal' : 'stop it';
  return new FloodgateError('run', `lock ${path}: the run is in use by ${who}`, {
    hint: isRunning ? `wait for it, or ${stop}` : `when that process is gone, remove ${path}`,
  });
}

/** Returns the process that holds the lock, or undefined when it is free (or its holder is gone). */
export async function lockHolder(path: string): Promise<number | undefined> {
  const holder = await readOwner(path);
  if (holder === undefined) return undefined;
  return isKernelLocked(lockDatabaseOf(path)) || !(await isGone(path, holder)) ? holder.pid : undefined;
}

/** A lock that was not touched for so long belongs to nobody (another machine, or a file that nobody can read). */
const ABANDONED_AFTER_MS = 60_000;
const POLL_MS = 200;

export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once when another process holds the lock, with its process id. */
  readonly onWait?: (pid: number) => void;
}

/**
 * Runs `work` while no other process holds the lock file at `path`; waits for one that does. The lock of a process that
 * is gone, or that shows no life on another machine, is taken over.
 * @throws FloodgateError `interrupted` when the signal is raised while waiting; `store` when the folder cannot be written.
 */
export async function withLock<T>(path: string, { signal, onWait }: WaitOptions, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  let hasTold = false;
  let result = await tryLock(path, () => isAbandoned(path));
  while (!('release' in result)) {
    if (result.owner !== undefined && !hasTold) {
      hasTold = true;
      onWait?.(result.owner.pid);
    }
    await waitFor(path, signal);
    result = await tryLock(path, () => isAbandoned(path));
  }
  try {
    return await work();
  } finally {
    await result.release();
  }
}

async function waitFor(path: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal });
  } catch (cause) {
    throw new FloodgateError('interrupted', `wait for ${path}: interrupted, nothing was started`, { cause });
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  const owner = await readOwner(path).catch(() => undefined);
  const touched = await stat(path).catch(() => undefined);
  if (touched !== undefined && nowMs() - touched.mtimeMs > ABANDONED_AFTER_MS) return true;
  return owner !== undefined && (await isGone(path, owner));
}

/**
 * Sends signals, in their order, to the process that holds the lock; false where nobody does.
 * @throws FloodgateError `run` when the holder is on another machine or in another container: its number there may be
 * that of any process here.
 */
export async function signalLockHolder(path: string, signals: readonly NodeJS.Signals[]): Promise<boolean> {
  const owner = await readOwner(path);
  if (owner === undefined) return false;
  const here = await placeOfThisProcess();
  const isRunning = isKernelLocked(lockDatabaseOf(path));
  if (!isRunning && (await isGone(path, owner))) return false;
  if (!isRunning || !isSameKernel(owner, here) || owner.pidNamespace !== here.pidNamespace)
    throw await inUse(path, { owner, isRunning });
  try {
    for (const signal of signals) process.kill(owner.pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw new FloodgateError('run', `process ${owner.pid}, which has the run, belongs to another user`, { cause });
  }
  return true;
}
