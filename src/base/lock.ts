import { randomUUID } from 'node:crypto';
import { link, open, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { z } from 'zod';
import { toWriteError } from './atomic-file.ts';
import { nowMs } from './clock.ts';
import { FloodgateError } from './errors.ts';
import { removeStaleLock } from './stale-lock.ts';

/** Who holds a run folder. The process's own start time tells it from a later process with the same number. */
const ownerSchema = z.object({
  pid: z.number().int().positive(),
  processStart: z.string().nullable(),
  host: z.string(),
  sinceMs: z.number(),
  /** It becomes part of a file's name. */
  token: z.string().regex(/^[\w-]{1,64}$/),
});
type Owner = z.infer<typeof ownerSchema>;

export interface RunLock {
  /** Gives the folder back. Safe to call twice, and never removes a lock that another process has taken since. */
  release(): Promise<void>;
}

/** Start time of a process in clock ticks since boot (Linux); null where the system does not tell. */
async function processStartOf(pid: number): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name before it may hold spaces and brackets; the fields after the last bracket are plain. starttime is the 22nd.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // alive, another user's
  }
}

async function isStale(owner: Owner): Promise<boolean> {
  if (owner.host !== hostname()) return false; // cannot be known from here
  if (!isProcessAlive(owner.pid)) return true;
  return owner.processStart !== null && owner.processStart !== (await processStartOf(owner.pid));
}

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
      hint: `when no other process uses this run, remove ${path}`,
    });
  }
}

function inUse(path: string, owner: Owner): FloodgateError {
  const where = owner.host === hostname() ? '' : ` on ${owner.host}`;
  const since = new Date(owner.sinceMs).toISOString();
  return new FloodgateError('run', `lock ${path}: the run is in use by process ${owner.pid}${where} since ${since}`, {
    hint:
      where === ''
        ? 'wait for it, or stop it with Ctrl-C in its terminal'
        : `when that process is gone, remove ${path}`,
  });
}

/** True when our lock now stands at `path`: all of its content or nothing, and never over another's. */
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

/** Takes the lock of a process that is gone out of the way. */
function removeStale(path: string, stale: Owner): Promise<void> {
  return removeStaleLock(path, {
    id: stale.token,
    isStill: async (claimed) => (await readOwner(claimed))?.token === stale.token,
  });
}

/** More tries than processes that could race for one folder. */
const MAX_TRIES = 10;

/**
 * Returns the lock of a run folder, at `path`. The lock of a process that is gone is taken over.
 * @throws FloodgateError `run` when another process holds it; `store` when the folder cannot be written.
 */
export async function acquireRunLock(path: string): Promise<RunLock> {
  const owner: Owner = {
    pid: process.pid,
    processStart: await processStartOf(process.pid),
    host: hostname(),
    sinceMs: nowMs(),
    token: randomUUID(),
  };
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    if (await place(path, owner)) return { release: () => release(path, owner) };
    const holder = await readOwner(path);
    if (holder === undefined) continue; // released just now
    if (!(await isStale(holder))) throw inUse(path, holder);
    await removeStale(path, holder);
  }
  throw new FloodgateError('run', `lock ${path}: several processes are racing for this run`, { hint: 'try again' });
}

async function release(path: string, owner: Owner): Promise<void> {
  const holder = await readOwner(path).catch(() => undefined);
  if (holder?.token === owner.token) await rm(path, { force: true });
}

/** Returns the process that holds the folder, or undefined when it is free (or its holder is gone). */
export async function runLockHolder(path: string): Promise<number | undefined> {
  const holder = await readOwner(path);
  return holder === undefined || (await isStale(holder)) ? undefined : holder.pid;
}
