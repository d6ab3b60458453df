import { randomUUID } from 'node:crypto';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { nowMs } from './clock.ts';
import { FloodgateError } from './errors.ts';

/** A neighbour of `path` to write into before the rename: same folder, so that the rename is atomic. */
export function partialPathOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.partial-${process.pid}-${randomUUID()}`);
}

/** Makes a rename inside `folder` survive a power cut, where the system can (Windows cannot open folders). */
export async function syncFolder(folder: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(folder, 'r');
    await handle.sync();
  } catch {
    // A folder that cannot be synced is no reason to fail: the file itself has been.
  } finally {
    await handle?.close();
  }
}

/**
 * Makes a folder that only its user may enter, and the folders around it as usual. Runs hold attacks that succeed: lists
 * of open vulnerabilities. An existing folder keeps its mode.
 */
export async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await mkdir(path, { recursive: true, mode: 0o700 });
}

const REASONS: Readonly<Record<string, readonly [reason: string, hint: string]>> = {
  ENOSPC: ['the disk is full', 'free space on this disk, or point the cache or run folder at another one'],
  EDQUOT: ['the disk quota is used up', 'free space, or point the cache or run folder at another disk'],
  EFBIG: ['the file would be larger than the system allows', 'raise the limit (ulimit -f), or choose another disk'],
  EROFS: ['the file system is read-only', 'choose a folder that can be written'],
  EACCES: ['permission denied', 'check the owner and mode of the folder'],
  EPERM: ['permission denied', 'check the owner and mode of the folder'],
  ENOTDIR: ['a parent is a file, not a folder', 'choose another path'],
  EEXIST: ['a file exists where a folder must be', 'choose another path'],
  EISDIR: ['a folder has its name', 'choose another path'],
};

/** `cause` as a `store` error with a hint when the system refused to write `path`; anything else as it is. */
export function toWriteError(path: string, cause: unknown): unknown {
  if (cause instanceof FloodgateError || !(cause instanceof Error) || !('code' in cause)) return cause;
  const [reason, hint] = REASONS[String(cause.code)] ?? [cause.message, undefined];
  return new FloodgateError('store', `write ${path}: ${reason} (${cause.code})`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

/**
 * Writes `path` so that it holds either its old content or all of the new, whatever happens: a partial file beside it,
 * fsync, rename. The folder is made when missing; on failure the partial file is removed.
 * @throws `store` when the disk refuses (full, read-only).
 */
export async function writeFileAtomically(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const partial = partialPathOf(path);
  try {
    await mkdir(dirname(path), { recursive: true });
    const handle = await open(partial, 'wx');
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined); // the first error is the one that says why
    throw toWriteError(path, error);
  }
}

const PARTIAL_NAME = /^\..+\.partial-(\d+)-[0-9a-f-]{36}$/;

/**
 * Removes files and folders that killed processes left half-written in `folder`, with `recursive` also in the folders
 * below. A folder that does not exist holds nothing. Call it only while nobody else writes there.
 */
export async function removePartialFiles(folder: string, { recursive = false } = {}): Promise<void> {
  const names = await readdir(folder, { recursive }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  for (const name of names) {
    if (PARTIAL_NAME.test(basename(name))) await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** No process takes so long to fill a folder beside its place. */
const ABANDONED_AFTER_MS = 3_600_000;

/** True while a process of this number exists, whoever it is by now. */
function isNumberInUse(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 asks, it ends nothing
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // another user's
  }
}

/**
 * Removes the folders that killed processes left half-filled in `parent`, where other processes may be filling theirs. The
 * number of a process tells nothing across containers, so an hour must have passed too. A folder that cannot be removed
 * stays.
 */
export async function removePartialFolders(parent: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const pid = PARTIAL_NAME.exec(name)?.[1];
    if (pid === undefined || isNumberInUse(Number(pid))) continue;
    const found = await lstat(join(parent, name)).catch(() => undefined); // removed by another process
    if (found?.isDirectory() !== true || nowMs() - found.mtimeMs < ABANDONED_AFTER_MS) continue;
    await rm(join(parent, name), { recursive: true, force: true }).catch(() => undefined); // another user's
  }
}
