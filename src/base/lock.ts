import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { toWriteError } from './atomic-file.ts';
import { nowMs } from './clock.ts';
import { FloodgateError } from './errors.ts';

/** Who holds a lock. The process's own start time tells it from a later process with the same number. */
const ownerSchema = z.object({
  pid: z.number().int().positive(),
  processStart: z.string().nullable(),
  host: z.string(),
  sinceMs: z.number(),
  /** It becomes part of a file's name. */
  token: z.string().regex(/^[\w-]{1,64}$/),
});
type Owner = z.infer<typeof ownerSchema>;

export interface Lock {
  /** Gives the lock back. Safe to call twice, and never removes a lock that another process has taken since. */
  release(): Promise<void>;
}

/** Start time of a process in clock ticks since boot (Linux); null where the system does not tell. */
async function processStartOf(pid: number): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name before it may hold spaces and brackets; the fields after the last bracket are plain. starttime is the 22nd.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 asks, it ends nothing
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // alive, another user's
  }
}

/** True when the owner's process is gone. Of a process on another machine that cannot be known from here. */
async function isGone(owner: Owner): Promise<boolean> {
  if (owner.host !== hostname()) return false;
  if (!isProcessAlive(owner.pid)) return true;
  return owner.processStart !== null && owner.processStart !== (await processStartOf(owner.pid));
}

async function createOwner(): Promise<Owner> {
  const { pid } = process;
  const processStart = await processStartOf(pid);
  return { pid, processStart, host: hostname(), sinceMs: nowMs(), token: randomUUID() };
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

/** True when our lock is now at `path`: all of its content or nothing, and never over another's. */
async function place(path: string, owner: Owner): Promise<boolean> {
  const temporary = `${path}.${owner.token}`;
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(JSON.stringify(owner));
      await file.sync();
    } finally {
      await file.close();
    }
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw toWriteError(path, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** A damaged lock is not ours: nobody but its owner removes a lock that is not stale. */
async function release(path: string, owner: Owner): Promise<void> {
  const holder = await readOwner(path).catch(() => undefined);
  if (holder?.token === owner.token) await rm(path, { force: true });
}

/** Time that a takeover needs: two file operations. */
const TAKEOVER_MS = 20;
/** A claim so old was left by a process that died between those two. */
const CLAIM_LOST_AFTER_MS = 10_000;

/** The lock that a process judged stale. */
export interface StaleLock {
  /** Of its owner, as the lock file names it; no other lock has the same. */
  readonly id: string;
  /** Whether the file at `path` is still that lock, and stale. */
  isStill(path: string): Promise<boolean>;
}

/**
 * Removes a stale lock file, so that one process can take its place; returns after a short wait where another process is
 * about it. One of the processes that judged the lock stale makes the claim: a second name of the lock's file. It judges
 * the claimed file again, since another may have taken over before, and removes the lock only while the claim exists.
 * A lock that is not stale is never moved, not even for a moment.
 * @throws FloodgateError `store` when the folder cannot be written.
 */
export async function removeStaleLock(path: string, { id, isStill }: StaleLock): Promise<void> {
  const claim = `${path}.stale-${id}`;
  try {
    await link(path, claim);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return waitForClaim(claim);
    if (code === 'ENOENT') return; // released or taken over just now
    throw toWriteError(path, error);
  }
  try {
    if (await isStill(claim)) await rm(path, { force: true });
  } finally {
    await rm(claim, { force: true });
  }
}

/** Leaves the takeover to the process that began it, unless that one is lost. */
async function waitForClaim(claim: string): Promise<void> {
  // Linking a file sets the time of its last change, not that of its content.
  const made = await stat(claim).catch(() => undefined);
  if (made !== undefined && nowMs() - made.ctimeMs > CLAIM_LOST_AFTER_MS) await rm(claim, { force: true });
  else await sleep(TAKEOVER_MS);
}

/** More tries than processes that could race for one lock. */
const MAX_TRIES = 10;

/**
 * Takes the lock at `path`. The lock of a process that is gone is taken over.
 * @throws FloodgateError `run` when another process holds it; `store` when the folder cannot be written.
 */
export async function acquireLock(path: string): Promise<Lock> {
  const owner = await createOwner();
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    if (await place(path, owner)) return { release: () => release(path, owner) };
    const holder = await readOwner(path);
    if (holder === undefined) continue; // released just now
    if (!(await isGone(holder))) throw inUse(path, holder);
    await removeStaleLock(path, {
      id: holder.token,
      isStill: async (claimed) => (await readOwner(claimed))?.token === holder.token,
    });
  }
  throw new FloodgateError('run', `lock ${path}: several processes are racing for it`, { hint: 'try again' });
}

function inUse(path: string, owner: Owner): FloodgateError {
  const isHere = owner.host === hostname();
  const since = new Date(owner.sinceMs).toISOString();
  const who = `process ${owner.pid}${isHere ? '' : ` on ${owner.host}`}`;
  return new FloodgateError('run', `lock ${path}: the run is in use by ${who} since ${since}`, {
    hint: isHere ? 'wait for it, or stop it with Ctrl-C in its terminal' : `when that process is gone, remove ${path}`,
  });
}

/** Returns the process that holds the lock, or undefined when it is free (or its holder is gone). */
export async function lockHolder(path: string): Promise<number | undefined> {
  const holder = await readOwner(path);
  return holder === undefined || (await isGone(holder)) ? undefined : holder.pid;
}

/** Interval at which the holder shows that it is alive. */
const HEARTBEAT_MS = 5_000;
/** A lock that was not touched for so long belongs to nobody (another machine, or a file that nobody can read). */
const ABANDONED_AFTER_MS = 60_000;
const POLL_MS = 200;

export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once when another process holds the lock, with its process id. */
  readonly onWait?: (pid: number) => void;
}

/**
 * Runs `work` while no other process holds the lock file at `path`; waits for one that does. A lock of a process that is
 * gone, or that shows no life, is taken over.
 * @throws FloodgateError `interrupted` when the signal is raised while waiting; `store` when the folder cannot be written.
 */
export async function withLock<T>(path: string, { signal, onWait }: WaitOptions, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const owner = await createOwner();
  let hasTold = false;
  while (!(await place(path, owner))) {
    const holder = await readOwner(path).catch(() => undefined);
    if (await isAbandoned(path)) {
      await removeAbandoned(path);
      continue;
    }
    if (holder !== undefined && !hasTold) {
      hasTold = true;
      onWait?.(holder.pid);
    }
    await waitFor(path, signal);
  }
  const heartbeat = setInterval(() => void touch(path), HEARTBEAT_MS);
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await release(path, owner);
  }
}

async function waitFor(path: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal });
  } catch (cause) {
    throw new FloodgateError('interrupted', `wait for ${path}: interrupted, nothing was started`, { cause });
  }
}

async function touch(path: string): Promise<void> {
  const now = nowMs() / 1000;
  await utimes(path, now, now).catch(() => undefined); // taken over while this process slept: nothing to show
}

async function isAbandoned(path: string): Promise<boolean> {
  const touched = await stat(path).catch(() => undefined);
  if (touched !== undefined && nowMs() - touched.mtimeMs > ABANDONED_AFTER_MS) return true;
  const holder = await readOwner(path).catch(() => undefined);
  return holder !== undefined && (await isGone(holder));
}

/** A lock that cannot be read has no token; only its age identifies it. */
async function removeAbandoned(path: string): Promise<void> {
  const tokenOf = async (file: string) => (await readOwner(file).catch(() => undefined))?.token;
  const token = await tokenOf(path);
  await removeStaleLock(path, {
    id: token ?? 'unreadable',
    isStill: async (claimed) => (await tokenOf(claimed)) === token && (await isAbandoned(claimed)),
  });
}
