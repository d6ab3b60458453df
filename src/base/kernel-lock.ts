import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import Database from 'libsql';
import { toWriteError } from './atomic-file.ts';
import { FloodgateError } from './errors.ts';

/**
 * A lock that the operating system keeps for this process: an exclusive transaction on an empty SQLite database. It ends
 * with the process, however that ends. It holds between containers of one machine, while a process computes for minutes
 * and while it is suspended. Process numbers and heartbeats promise none of this.
 *
 * Between machines it holds where the file system shares locks (NFSv4, SMB), not on NFS with `nolock`.
 *
 * The file stays when the lock is given back: a process that had opened a removed file would lock nothing. Nothing else
 * may open it in this process, because POSIX drops a process's locks on a file with the first descriptor it closes.
 */
export interface KernelLock {
  /** Safe to call twice. */
  release(): void;
}

/** Keeps connections from the garbage collector, which would close them and so give the locks back. */
const held = new Set<Database.Database>();

const codeOf = (error: unknown): string => (error as { code?: string }).code ?? '';

/** The connection, closed again when the work on it fails. */
function begin(address: string, sql: string): Database.Database {
  const db = new Database(address, { timeout: 0 });
  try {
    db.exec(sql);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

async function refusal(path: string, cause: unknown): Promise<unknown> {
  try {
    await access(dirname(path), constants.W_OK); // SQLite says only that it could not open the file
  } catch (error) {
    return toWriteError(path, error);
  }
  return new FloodgateError('store', `lock ${path}: the file system refuses (${codeOf(cause) || String(cause)})`, {
    cause,
    hint: 'choose a folder on a disk of this machine',
  });
}

/**
 * Takes the lock at `path`, in a folder that exists; undefined while another has it, in this process too.
 * @throws FloodgateError `store` when the file cannot be made, or its file system knows no locks.
 */
export async function takeKernelLock(path: string): Promise<KernelLock | undefined> {
  let db: Database.Database;
  try {
    db = begin(path, 'PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE');
  } catch (error) {
    if (codeOf(error) === 'SQLITE_BUSY') return undefined;
    throw await refusal(path, error);
  }
  held.add(db);
  return {
    release: () => {
      if (!held.delete(db)) return;
      db.exec('ROLLBACK');
      db.close();
    },
  };
}

/** True while a process has the lock at `path`. Makes no file, and needs no right to write. */
export function isKernelLocked(path: string): boolean {
  try {
    begin(`${pathToFileURL(path).href}?mode=ro`, 'BEGIN; SELECT 1 FROM sqlite_schema; ROLLBACK').close();
    return false;
  } catch (error) {
    return codeOf(error) === 'SQLITE_BUSY';
  }
}
