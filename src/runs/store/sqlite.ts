import { accessSync, constants } from 'node:fs';
import Database from 'libsql';
import { FloodgateError } from '../../base/errors.ts';

/** How long a writer waits for another process before it fails. */
export const BUSY_TIMEOUT_MS = 5000;

/** Opens a database that may be missing. @param what it is, for messages. @throws FloodgateError `store`. */
export function openDatabaseOf(what: string, path: string): Database.Database {
  try {
    return new Database(path, { timeout: BUSY_TIMEOUT_MS });
  } catch (cause) {
    // libsql gives no code here, only `ConnectionFailed(...)`.
    throw new FloodgateError('store', `open ${what}: ${path} cannot be opened or made`, {
      cause,
      hint: 'check that the run folder exists and can be written',
    });
  }
}

export function canWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** How values cross between JavaScript and SQLite without loss. */

/** A text for a `text` column: BLOB when it holds NUL, where SQLite's text would end. */
export function textToCell(text: string): string | Buffer {
  return text.includes('\0') ? Buffer.from(text, 'utf8') : text;
}

export function cellToText(cell: unknown): string {
  if (typeof cell === 'string') return cell;
  if (cell instanceof ArrayBuffer) return Buffer.from(cell).toString('utf8');
  if (ArrayBuffer.isView(cell)) return Buffer.from(cell.buffer, cell.byteOffset, cell.byteLength).toString('utf8');
  throw new FloodgateError('store', `read run database: got ${typeof cell} where a text was expected`);
}

/** NaN would silently become NULL, *not measured*. It is an upstream fault, so it fails here. */
export function numberToCell(name: string, value: number | null): number | null {
  if (Number.isNaN(value)) throw new FloodgateError('store', `write run database: ${name} is NaN, expected a number`);
  return value;
}

const EXPLANATIONS: readonly (readonly [RegExp, string, string | undefined])[] = [
  [/FULL/, 'the disk is full', 'free some space, then floodgate resume'],
  [/READONLY|CANTOPEN|PERM/, 'the folder cannot be written', 'check the owner and the mount of the run folder'],
  [/NOTADB|CORRUPT/, 'the file is not an SQLite database, or damaged', undefined],
  [/BUSY|LOCKED/, 'another process holds the database', 'wait for it, or end it'],
  [
    /CONSTRAINT_UNIQUE/,
    'another process has written this update',
    'end one of the two processes, then floodgate resume',
  ],
  [/IOERR/, 'the disk reports an error', 'check the disk that holds the run folder'],
];

/**
 * Returns the result of `work`; SQLite's errors get our words.
 * @throws FloodgateError `store`.
 */
export function guardSqlite<T>(operation: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const { message = String(cause), code = '' } = cause as { message?: string; code?: string };
    const found = EXPLANATIONS.find(([pattern]) => pattern.test(code));
    const what = found === undefined ? message : `${found[1]} (${code})`;
    const hint = found?.[2];
    throw new FloodgateError('store', `${operation}: ${what}`, { cause, ...(hint === undefined ? {} : { hint }) });
  }
}

/**
 * Runs `work` in one immediate transaction and returns its result; when anything throws, none of it is stored.
 *
 * SQLite rolls back by itself when the disk is full or fails. A second rollback would then fail and hide the reason (as
 * `db.transaction` of libsql does), so a rollback is tried only while a transaction is open.
 */
export function transact<T>(db: Database.Database, work: () => T): T {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    db.exec('COMMIT');
    return result;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}
