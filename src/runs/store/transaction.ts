import type Database from 'libsql';

/**
 * Runs `work` in one immediate transaction and returns what it returns; when anything throws, nothing of it is stored.
 *
 * SQLite rolls back by itself when the disk is full or fails, and a second rollback would then fail and hide the reason
 * (as `db.transaction` of libsql does); so a rollback is tried only where a transaction is still open.
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
