import { lstat, readdir, realpath, rm, rmdir } from 'node:fs/promises';
import { basename, join, sep } from 'node:path';
import { toWriteError } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { acquireLock, lockDatabaseOf } from '../base/lock.ts';
import { isRunFolder, type RunFolder } from './run-folder.ts';

/**
 * Everything that Floodgate writes into a run folder, in the order of its removal. A kill in between leaves a folder
 * that is still known as a run, so that the removal can be repeated.
 */
const PARTS: readonly RegExp[] = [
  /^\..+\.partial-\d+-[\w-]+$/,
  /^lock\.[\w.-]+$/, // left by a process that died while it took the lock
  /^report\.(?:json|html)$/,
  /^attack-map\.json$/,
  /^resume\.log$/, // of a run that the viewer resumed
  /^(?:tuned|robustness)$/,
  /^calls\.db(?:-(?:wal|shm|journal))?$/,
  /^labels\.db(?:-(?:wal|shm|journal))?$/,
  /^run\.db-(?:wal|shm|journal)$/,
  /^run\.db$/,
  /^checkpoints$/,
  /^manifest\.json$/,
  /^config\.yaml$/,
];

/**
 * Deletes a run folder with everything that Floodgate wrote in it, while it holds the lock of the run.
 * @throws FloodgateError `run` when another process uses it, when it is a link to another folder or around the working
 * folder, when it is no run, or when it holds a file of somebody else. Nothing is deleted then.
 */
export async function removeRunFolder(folder: RunFolder): Promise<void> {
  const { name, path, lockPath } = folder;
  if ((await lstat(path)).isSymbolicLink()) throw refusal(name, `${path} is a link, remove the link itself`);
  await refuseWorkingFolder(folder);
  if (!(await isRunFolder(folder))) throw refusal(name, `${path} is no run of Floodgate`);
  const lock = await acquireLock(lockPath);
  try {
    await removeParts(path, await partsOf(folder));
  } finally {
    await lock.release();
  }
  await rm(lockDatabaseOf(lockPath), { force: true });
  await removeEmpty(folder);
}

function refusal(name: string, reason: string, hint?: string): FloodgateError {
  return new FloodgateError('run', `remove run ${name}: ${reason}`, hint === undefined ? {} : { hint });
}

/** A folder around the working folder is a home or a project, never a single run. */
async function refuseWorkingFolder({ name, path }: RunFolder): Promise<void> {
  const working = await realpath(process.cwd());
  const real = await realpath(path);
  if (working !== real && !working.startsWith(real.endsWith(sep) ? real : `${real}${sep}`)) return;
  throw refusal(name, `the working folder is ${working === real ? '' : 'inside '}${path}`, 'leave that folder first');
}

/**
 * The names of the run's own parts but its lock, in the order of removal.
 * @throws FloodgateError `run` when there is anything else.
 */
async function partsOf({ name, path, lockPath }: RunFolder): Promise<string[]> {
  const lockNames = [lockPath, lockDatabaseOf(lockPath)].map((file) => basename(file));
  const names = (await readdir(path)).filter((entry) => !lockNames.includes(entry));
  const strangers = names.filter((entry) => !PARTS.some((part) => part.test(entry)));
  if (strangers.length > 0)
    throw refusal(name, `${path} holds ${JSON.stringify(strangers[0])}, which Floodgate did not write`, 'move it away');
  return PARTS.flatMap((part) => names.filter((entry) => part.test(entry)));
}

async function removeParts(path: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await rm(join(path, name), { recursive: true, force: true }).catch((error: unknown) => {
      throw toWriteError(path, error);
    });
  }
}

/** Removes the folder, unless another process wrote into it since. */
async function removeEmpty({ name, path }: RunFolder): Promise<void> {
  await rmdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOTEMPTY')
      throw refusal(name, `another process wrote into ${path}`, 'look at its files first');
    throw toWriteError(path, error);
  });
}
