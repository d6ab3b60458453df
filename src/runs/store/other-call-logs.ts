import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import Database from 'libsql';
import { APPLICATION_ID } from './call-log.ts';
import { guardSqlite } from './sqlite.ts';

/** The call logs of the other runs in one folder, read-only. */
export interface OtherCallLogs {
  /** The value that one of them keeps under `key`; undefined where none does. */
  find(key: string): string | undefined;
  /** Values that were found. */
  readonly found: number;
  close(): void;
}

/** Looks up a key in the log of another run, which may still be written. */
interface Finder {
  find(key: string): string | undefined;
  close(): void;
}

/** The log at `path`, read-only; undefined where there is none that can be read. */
function openFinder(path: string): Finder | undefined {
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { readonly: true, fileMustExist: true });
    const [id] = db.prepare('PRAGMA application_id').raw().get() as [number];
    const select = db.prepare('SELECT value FROM kept WHERE key = ?').raw();
    if (id === APPLICATION_ID) {
      const opened = db;
      return { find: (key) => (select.get([key]) as [string] | undefined)?.[0], close: () => opened.close() };
    }
  } catch {
    // No call log, or a damaged one: its answers are asked for again.
  }
  db?.close();
  return undefined;
}

/** Opens the call logs of all other runs in the folder of the run at `runPath`, in the order of their names. */
export function openOtherCallLogs(runPath: string): OtherCallLogs {
  const runs = dirname(runPath);
  const names = readdirSync(runs, { withFileTypes: true }).flatMap((each) => (each.isDirectory() ? [each.name] : []));
  const logs = names
    .filter((name) => name !== basename(runPath))
    .sort()
    .flatMap((name) => openFinder(join(runs, name, 'calls.db')) ?? []);
  let found = 0;
  return {
    find: (key) => {
      for (const log of logs) {
        const value = guardSqlite('read the call log of another run', () => log.find(key));
        if (value === undefined) continue;
        found++;
        return value;
      }
      return undefined;
    },
    get found() {
      return found;
    },
    close: () => {
      for (const log of logs.splice(0)) log.close();
    },
  };
}
