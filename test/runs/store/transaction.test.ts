import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Database from 'libsql';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { transact } from '../../../src/runs/store/sqlite.ts';

let folder: string;
let db: Database.Database;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'floodgate-transaction-'));
  db = new Database(path.join(folder, 'a.db'));
  db.exec('CREATE TABLE t (x)');
});
afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true });
});

const rows = (): number => (db.prepare('SELECT count(*) FROM t').raw().get() as [number])[0];
const insert = (bytes: number): void => void db.prepare('INSERT INTO t VALUES (zeroblob(?))').run([bytes]);

test('all of it is stored, or nothing', () => {
  const two = (): string => {
    insert(1);
    insert(1);
    return 'result';
  };
  expect(transact(db, two)).toBe('result');
  const broken = () => {
    insert(1);
    throw new Error('broken');
  };
  expect(() => transact(db, broken)).toThrow('broken');
  expect(rows()).toBe(2);
});

test('a full disk is named, although SQLite has already rolled back; with room again it goes on', () => {
  db.exec('PRAGMA max_page_count = 10');
  expect(() => transact(db, () => insert(1_000_000))).toThrow(expect.objectContaining({ code: 'SQLITE_FULL' }));
  db.exec('PRAGMA max_page_count = 10000');
  transact(db, () => insert(1_000_000));
  expect(rows()).toBe(1);
});
