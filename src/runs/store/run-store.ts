import { existsSync } from 'node:fs';
import Database from 'libsql';
import { FloodgateError } from '../../base/errors.ts';
import { createStoreQueries, type StoreQueries } from './queries.ts';
import { migrate } from './schema.ts';
import { guardSqlite } from './sqlite.ts';
import { createStoreWriter, type StoreWriter } from './writer.ts';

/** The database of one run. */
export interface RunStore extends StoreWriter, StoreQueries {
  readonly path: string;
  /** Merges the log into the database file and releases it. Safe to call twice. */
  close(): void;
}

export interface OpenStoreOptions {
  /** Makes no new database and refuses every write. */
  readonly readOnly?: boolean;
}

/** How long a reader or writer waits for the other before it fails. */
const BUSY_TIMEOUT_MS = 5000;

/**
 * Opens the run database at `path` and makes it when missing.
 *
 * WAL: readers (`floodgate show`) never block the run, and a kill at any moment leaves the last whole update.
 * synchronous = FULL: a commit is on the disk when `recordUpdate` returns, so a power cut loses no update either. This
 * costs one fsync for each update: milliseconds, where an update takes seconds.
 * @throws FloodgateError `store` when the file is missing (read-only), damaged, foreign, newer, or cannot be written.
 */
export async function openStore(path: string, options: OpenStoreOptions = {}): Promise<RunStore> {
  const readOnly = options.readOnly ?? false;
  if (readOnly && !existsSync(path)) throw new FloodgateError('store', `open run database: ${path} does not exist`);
  const db = openDatabase(path);
  try {
    guardSqlite(`open run database ${path}`, () => {
      db.exec('PRAGMA journal_mode = WAL');
      db.exec('PRAGMA synchronous = FULL');
      db.exec('PRAGMA foreign_keys = ON');
      migrate(db);
      if (readOnly) db.exec('PRAGMA query_only = ON');
    });
  } catch (error) {
    db.close();
    throw error;
  }
  let isOpen = true;
  return {
    path,
    ...createStoreWriter(db),
    ...createStoreQueries(db),
    close: () => {
      if (!isOpen) return;
      isOpen = false;
      db.close();
    },
  };
}

function openDatabase(path: string): Database.Database {
  try {
    return new Database(path, { timeout: BUSY_TIMEOUT_MS });
  } catch (cause) {
    // libsql gives no code here, only `ConnectionFailed(...)`.
    throw new FloodgateError('store', `open run database: ${path} cannot be opened or made`, {
      cause,
      hint: 'check that the run folder exists and can be written',
    });
  }
}
