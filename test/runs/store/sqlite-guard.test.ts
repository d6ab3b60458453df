import Database from 'libsql';
import { expect, it } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import { guardSqlite } from '../../../src/runs/store/sqlite.ts';

it('names a full disk and what to do', () => {
  const db = new Database(':memory:');
  db.exec('CREATE TABLE t (a BLOB)');
  db.exec('PRAGMA max_page_count = 3'); // SQLite answers as it does when the disk is full
  const fill = () => guardSqlite('write run database', () => db.exec('INSERT INTO t VALUES (zeroblob(1000000))'));
  expect(fill).toThrow(/write run database: the disk is full \(SQLITE_FULL\)/);
  try {
    fill();
  } catch (error) {
    expect((error as FloodgateError).hint).toContain('floodgate resume');
  }
});

it('passes our own errors through, and wraps the rest with their cause', () => {
  const own = new FloodgateError('run', 'mine');
  expect(() =>
    guardSqlite('x', () => {
      throw own;
    }),
  ).toThrow(own);
  const cause = new Error('odd');
  try {
    guardSqlite('read', () => {
      throw cause;
    });
  } catch (error) {
    expect(error).toMatchObject({ code: 'store', message: 'read: odd', cause });
  }
});
