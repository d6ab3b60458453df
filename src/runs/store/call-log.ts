import { existsSync } from 'node:fs';
import Database from 'libsql';
import { monotonicMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { addSpent, type CallLog, type Spent, type Unanswered } from '../../trial/call-log.ts';
import { BUSY_TIMEOUT_MS, guardSqlite, openDatabaseOf, transact } from './sqlite.ts';

/** `Fgca`: tells a call log from any other SQLite file. */
export const APPLICATION_ID = 0x46676361;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS failed (key TEXT PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS spent (
    one INTEGER PRIMARY KEY CHECK (one = 1), target_calls INTEGER NOT NULL, judge_calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL, money REAL NOT NULL, seconds REAL NOT NULL);
  INSERT OR IGNORE INTO spent VALUES (1, 0, 0, 0, 0, 0);
  CREATE TABLE IF NOT EXISTS unanswered (
    one INTEGER PRIMARY KEY CHECK (one = 1), target_calls INTEGER NOT NULL, judge_calls INTEGER NOT NULL);
  INSERT OR IGNORE INTO unanswered VALUES (1, 0, 0);
  PRAGMA application_id = ${APPLICATION_ID};`;

/** 32 MiB: the answers of some 1,500 calls. */
const CHECKPOINT_PAGES = 8192;

function prepare(db: Database.Database, path: string): void {
  const [id] = db.prepare('PRAGMA application_id').raw().get() as [number];
  if (id !== 0 && id !== APPLICATION_ID)
    throw new FloodgateError('store', `open call log: ${path} is a database of another program`);
  db.exec('PRAGMA journal_mode = WAL');
  // A killed process loses nothing that was written. A power cut may lose the last seconds: a commit that waits for the
  // disk would hold up every other call.
  db.exec('PRAGMA synchronous = NORMAL');
  // Each call takes some pages of SQLite's log. A checkpoint waits for the disk, and every call under way with it.
  db.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  db.exec(SCHEMA);
}

function openPrepared(path: string): Database.Database {
  const db = openDatabaseOf('call log', path);
  try {
    guardSqlite(`open call log ${path}`, () => prepare(db, path));
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function readSpent(db: Database.Database): { readonly spent: Spent; readonly seconds: number } {
  const row = db.prepare('SELECT target_calls, judge_calls, tokens, money, seconds FROM spent').raw().get() as number[];
  const [targetCalls = 0, judgeCalls = 0, tokens = 0, money = 0, seconds = 0] = row;
  return { spent: { targetCalls, judgeCalls, tokens, money }, seconds };
}

function readFailures(db: Database.Database): { readonly key: string; readonly reason: string }[] {
  const rows = db.prepare('SELECT key, reason FROM failed ORDER BY key').raw().all() as [string, string][];
  return rows.map(([key, reason]) => ({ key, reason: JSON.parse(reason) as string }));
}

/** The count of calls that were begun and not answered. */
function openUnanswered(
  db: Database.Database,
): Pick<CallLog, 'begin' | 'answered' | 'unanswered' | 'forgetUnanswered'> {
  const select = db.prepare('SELECT target_calls, judge_calls FROM unanswered').raw();
  // max: an answer that comes after `forgetUnanswered` is no longer in the count.
  const add = db.prepare(
    'UPDATE unanswered SET target_calls = max(0, target_calls + ?), judge_calls = max(0, judge_calls + ?)',
  );
  const reset = db.prepare('UPDATE unanswered SET target_calls = 0, judge_calls = 0');
  const count = ({ targetCalls = 0, judgeCalls = 0 }: Partial<Unanswered>, sign: 1 | -1): void => {
    if (targetCalls + judgeCalls === 0) return;
    guardSqlite('write call log', () => void add.run([sign * targetCalls, sign * judgeCalls]));
  };
  return {
    begin: (calls) => count(calls, 1),
    answered: (calls) => count(calls, -1),
    get unanswered() {
      const [targetCalls = 0, judgeCalls = 0] = guardSqlite('read call log', () => select.get() as number[]);
      return { targetCalls, judgeCalls };
    },
    forgetUnanswered: () => guardSqlite('write call log', () => void reset.run()),
  };
}

/**
 * Opens the log of paid calls at `path`, and makes it when missing. It is a file of its own: an answer is written when
 * it arrives, while the update that it belongs to is stored whole or not at all.
 * @param others where a value is looked up that is not in this log. It is then kept here too, and costs nothing.
 * @throws FloodgateError `store` when the file is foreign, damaged, or cannot be written.
 */
export function openCallLog(path: string, others?: Pick<CallLog, 'find'>): CallLog {
  const db = openPrepared(path);
  const before = guardSqlite('read call log', () => readSpent(db));
  const startedMs = monotonicMs();
  const seconds = (): number => before.seconds + (monotonicMs() - startedMs) / 1000;
  let spent = before.spent;
  let isOpen = true;
  const select = db.prepare('SELECT value FROM kept WHERE key = ?').raw();
  const insert = db.prepare('INSERT OR REPLACE INTO kept (key, value) VALUES (?, ?)');
  const answered = db.prepare('DELETE FROM failed WHERE key = ?');
  const insertFailure = db.prepare('INSERT OR REPLACE INTO failed (key, reason) VALUES (?, ?)');
  const update = db.prepare('UPDATE spent SET target_calls = ?, judge_calls = ?, tokens = ?, money = ?, seconds = ?');
  const calls = openUnanswered(db);
  const write = (paid: Partial<Spent>, came: Partial<Unanswered>, also: () => void): void => {
    const sum = addSpent(spent, paid);
    const store = (): void => {
      also();
      calls.answered(came);
      update.run([sum.targetCalls, sum.judgeCalls, sum.tokens, sum.money, seconds()]);
    };
    guardSqlite('write call log', () => (db.inTransaction ? store() : transact(db, store)));
    spent = sum;
  };
  const together: CallLog['together'] = (work) => {
    const earlier = spent;
    try {
      guardSqlite('write call log', () => transact(db, work));
    } catch (error) {
      spent = earlier;
      throw error;
    }
  };
  let hasFailures = guardSqlite('read call log', () => readFailures(db).length > 0);
  const keep: CallLog['keep'] = (key, value, paid, came = {}) =>
    write(paid, came, () => {
      insert.run([key, value]);
      if (hasFailures) answered.run([key]);
    });
  const takeOver = (key: string): string | undefined => {
    const value = others?.find(key);
    if (value !== undefined) keep(key, value, {});
    return value;
  };
  return {
    begin: calls.begin,
    answered: calls.answered,
    get unanswered() {
      return calls.unanswered;
    },
    forgetUnanswered: calls.forgetUnanswered,
    find: (key) =>
      guardSqlite('read call log', () => (select.get([key]) as [string] | undefined)?.[0]) ?? takeOver(key),
    keep,
    together,
    spend: (paid) => write(paid, {}, () => undefined),
    fail: (key, reason, paid, came = {}) => {
      write(paid, came, () => void insertFailure.run([key, JSON.stringify(reason)]));
      hasFailures = true;
    },
    failures: () => guardSqlite('read call log', () => readFailures(db)),
    get size() {
      return guardSqlite('read call log', () => (db.prepare('SELECT count(*) FROM kept').raw().get() as [number])[0]);
    },
    get spent() {
      return spent;
    },
    get seconds() {
      return seconds();
    },
    close: () => {
      if (!isOpen) return;
      isOpen = false;
      closeLog(db, () => write({}, {}, () => undefined));
    },
  };
}

/** The sums of the log at `path`, read beside a process that writes it; undefined where there is none. */
export function readSpentOf(path: string): Spent | undefined {
  if (!existsSync(path)) return undefined;
  const db = new Database(path, { readonly: true, timeout: BUSY_TIMEOUT_MS });
  try {
    return guardSqlite('read call log', () => readSpent(db)).spent;
  } finally {
    db.close();
  }
}

/** The log of SQLite itself goes with the last connection: a full disk leaves it, and the next opening reads it. */
function closeLog(db: Database.Database, noteTime: () => void): void {
  try {
    noteTime();
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  } catch {
    // Every answer is stored; the time since the last one is not.
  }
  db.close();
}
