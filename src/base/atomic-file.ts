import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
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

const PARTIAL_NAME = /^\..+\.partial-\d+-[0-9a-f-]{36}$/;

/** Removes what killed processes left half-written in `folder`. Call it only while nobody else writes there. */
export async function removePartialFiles(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (PARTIAL_NAME.test(name)) await rm(join(folder, name), { force: true });
  }
}
