import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import type Database from 'libsql';
import { FloodgateError } from '../../base/errors.ts';
import { createStoreQueries, type StoreQueries } from './queries.ts';
import { hasRunSchema, isEmptyDatabase, migrate, presentAsNewest } from './schema.ts';
import { canWrite, guardSqlite, openDatabaseOf } from './sqlite.ts';
import { createRefusingWriter, createStoreWriter, type StoreWriter } from './writer.ts';

/** The database of one run. */
export interface RunStore extends StoreWriter, StoreQueries {
  readonly path: string;
  /** Merges the log into the database file and releases it. Safe to call twice. */
  close(): void;
}

export interface OpenStoreOptions {
  /** Makes no new database, leaves the file as it is, an earlier schema too, and refuses every write. */
  readonly readOnly?: boolean;
}

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
  const db = readOnly ? openForReading(path) : begin(path, openDatabaseOf('run database', path), beginWriting);
  let isOpen = true;
  return {
    path,
    ...(readOnly ? createRefusingWriter() : createStoreWriter(db)),
    ...createStoreQueries(db),
    close: () => {
      if (!isOpen) return;
      isOpen = false;
      if (!readOnly) mergeLog(db);
      db.close();
    },
  };
}

/** A connection of its own that writes nothing. @throws FloodgateError `store` as `openStore`. */
export function openForReading(path: string): Database.Database {
  if (!existsSync(path)) throw new FloodgateError('store', `open run database: ${path} does not exist`);
  return begin(path, openDatabaseOf('run database', readOnlyAddress(path)), beginReading);
}

/** Returns `db` once it is ready, or closes it. */
function begin(path: string, db: Database.Database, prepare: (db: Database.Database) => void): Database.Database {
  try {
    guardSqlite(`open run database ${path}`, () => prepare(db));
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function beginWriting(db: Database.Database): void {
  db.exec('PRAGMA journal_mode = WAL');
  db.exec('PRAGMA synchronous = FULL');
  db.exec('PRAGMA foreign_keys = ON');
  migrate(db);
}

function beginReading(db: Database.Database): void {
  db.exec('PRAGMA temp_store = MEMORY');
  presentAsNewest(db);
  db.exec('PRAGMA query_only = ON');
}

/** Merges the log into the database file: libsql closes a connection only when its statements are collected. */
function mergeLog(db: Database.Database): void {
  try {
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  } catch {
    // A full disk. The log keeps every update, and the next opening reads it.
  }
}

function hasLog(path: string): boolean {
  return (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0;
}

/**
 * The address under which SQLite opens a database for reading and leaves it as it is.
 * - With a write-ahead log beside it: without the right to write, so that the log is read and never merged.
 * - Without one (or with an empty one), where nothing can be written: as immutable. SQLite would otherwise make the log, and fail.
 * - Else as it is: the log that SQLite makes goes with the connection, and a run may begin meanwhile.
 */
function readOnlyAddress(path: string): string {
  const { href } = pathToFileURL(path);
  if (hasLog(path)) return `${href}?mode=ro`;
  return canWrite(path) && canWrite(dirname(path)) ? path : `${href}?immutable=1`;
}

/**
 * True when the file at `path` is a run database. Its bytes alone do not tell: they may still be in its write-ahead log.
 */
export function isRunDatabase(path: string): boolean {
  if (!existsSync(path)) return false;
  let db: Database.Database | undefined;
  try {
    db = openDatabaseOf('run database', readOnlyAddress(path));
    return hasRunSchema(db);
  } catch {
    return false; // damaged, or no database
  } finally {
    db?.close();
  }
}

/**
 * False while the database at `path` is missing or empty: a kill may come between the file and its first table. True of
 * anything else; opening it says what is wrong with it.
 */
export function hasBegun(path: string): boolean {
  if (!existsSync(path)) return false;
  let db: Database.Database | undefined;
  try {
    db = openDatabaseOf('run database', readOnlyAddress(path));
    return !isEmptyDatabase(db);
  } catch {
    return true; // damaged, or no database
  } finally {
    db?.close();
  }
}
