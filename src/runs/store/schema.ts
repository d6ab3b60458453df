import type Database from 'libsql';
import { FloodgateError } from '../../base/errors.ts';
import { transact } from './sqlite.ts';

/** `Fgat`: tells a run database from any other SQLite file. */
const APPLICATION_ID = 0x46676174;

/**
 * One entry per version, applied in order, never edited once released. Texts that hold NUL are stored as BLOB, because
 * SQLite's text functions end at the first NUL; every other text is TEXT. No AUTOINCREMENT: after a truncation the same
 * rows get the same ids again, so that a resumed run's database equals an uninterrupted one's.
 */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE run_info (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
   CREATE TABLE stage (
     id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
     updates_planned INTEGER NOT NULL, started_ms INTEGER NOT NULL, finished_ms INTEGER);
   CREATE TABLE attack (
     id INTEGER PRIMARY KEY, stage_id INTEGER NOT NULL REFERENCES stage(id), update_index INTEGER NOT NULL,
     position INTEGER NOT NULL, source TEXT NOT NULL, ids TEXT NOT NULL, text NOT NULL,
     log_pi REAL, log_p_ref REAL, log_reward REAL, mean_unsafe REAL, response_count INTEGER NOT NULL);
   CREATE INDEX attack_by_update ON attack (stage_id, update_index);
   CREATE TABLE response (
     id INTEGER PRIMARY KEY, attack_id INTEGER NOT NULL REFERENCES attack(id) ON DELETE CASCADE,
     position INTEGER NOT NULL, text NOT NULL, tokens INTEGER NOT NULL, truncated INTEGER NOT NULL);
   CREATE INDEX response_by_attack ON response (attack_id, position);
   CREATE TABLE verdict (
     response_id INTEGER NOT NULL REFERENCES response(id) ON DELETE CASCADE,
     judge TEXT NOT NULL, masked INTEGER NOT NULL, unsafe REAL, reason TEXT,
     PRIMARY KEY (response_id, judge, masked)) WITHOUT ROWID;
   CREATE TABLE metric (
     stage_id INTEGER NOT NULL REFERENCES stage(id), update_index INTEGER NOT NULL, name TEXT NOT NULL,
     judge TEXT NOT NULL, value REAL, low REAL, high REAL, n INTEGER NOT NULL, method TEXT, confidence REAL,
     PRIMARY KEY (stage_id, update_index, name, judge)) WITHOUT ROWID;
   CREATE TABLE event (
     id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, stage_id INTEGER REFERENCES stage(id), update_index INTEGER,
     level TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL);
   CREATE TABLE cost (
     stage_id INTEGER NOT NULL REFERENCES stage(id), update_index INTEGER NOT NULL, target_calls INTEGER NOT NULL,
     judge_calls INTEGER NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL,
     PRIMARY KEY (stage_id, update_index)) WITHOUT ROWID;
   CREATE TABLE repeated_calls (
     id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, stage_id INTEGER NOT NULL REFERENCES stage(id),
     after_update INTEGER NOT NULL, attacks INTEGER NOT NULL, responses INTEGER NOT NULL, verdicts INTEGER NOT NULL,
     target_calls INTEGER NOT NULL, judge_calls INTEGER NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL);`,
  `ALTER TABLE attack ADD COLUMN fluency REAL;
   ALTER TABLE response ADD COLUMN refused TEXT;`,
  // A second process that writes the same update is refused, even where a lock does not hold.
  `DROP INDEX IF EXISTS attack_by_update;
   CREATE UNIQUE INDEX attack_by_update ON attack (stage_id, update_index, position);
   DROP INDEX IF EXISTS response_by_attack;
   CREATE UNIQUE INDEX response_by_attack ON response (attack_id, position);`,
  'ALTER TABLE attack ADD COLUMN cell TEXT;',
];

const WITHOUT_CELL = 'CREATE TEMP VIEW attack AS SELECT *, NULL AS cell FROM main.attack;';

/**
 * For each earlier version, from 1, the views of this connection alone that show it as the newest: what was not stored
 * is null.
 */
const VIEWS: readonly string[] = [
  `CREATE TEMP VIEW attack AS SELECT *, NULL AS fluency, NULL AS cell FROM main.attack;
   CREATE TEMP VIEW response AS SELECT *, NULL AS refused FROM main.response;`,
  WITHOUT_CELL,
  WITHOUT_CELL,
];

/** The newest schema version that this code reads and writes. */
export const SCHEMA_VERSION = MIGRATIONS.length;

function pragmaNumber(db: Database.Database, name: 'application_id' | 'user_version'): number {
  const row = db.prepare(`PRAGMA ${name}`).raw().get() as [number];
  return row[0];
}

/** True of a database that `migrate` made. */
export function hasRunSchema(db: Database.Database): boolean {
  return pragmaNumber(db, 'application_id') === APPLICATION_ID;
}

/** True of a database without a table: a process that is killed while it makes one leaves it so. */
export function isEmptyDatabase(db: Database.Database): boolean {
  return db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').raw().get() === undefined;
}

/**
 * The schema version of `db`; 0 for an empty database.
 * @throws FloodgateError `store` when the file is another program's database or a newer Floodgate's.
 */
function checkedVersion(db: Database.Database): number {
  const version = pragmaNumber(db, 'user_version');
  const applicationId = pragmaNumber(db, 'application_id');
  if (!isEmptyDatabase(db) && applicationId !== APPLICATION_ID)
    throw new FloodgateError('store', 'open run database: the file is a database of another program');
  if (version > SCHEMA_VERSION)
    throw new FloodgateError('store', `open run database: got schema ${version}, expected at most ${SCHEMA_VERSION}`, {
      hint: 'open this run with the newer Floodgate that wrote it',
    });
  return version;
}

/**
 * Shows `db` as the newest schema and writes nothing into it.
 * @throws FloodgateError `store` as `migrate`, and for an empty database.
 */
export function presentAsNewest(db: Database.Database): void {
  const version = checkedVersion(db);
  if (version === 0)
    throw new FloodgateError('store', 'open run database: it is empty', { hint: 'floodgate resume continues the run' });
  const views = VIEWS[version - 1];
  if (views !== undefined) db.exec(views);
}

/** The first version whose indexes refuse doubled rows. */
const FIRST_WITHOUT_DOUBLES = 3;
const DOUBLED = [
  'SELECT 1 FROM attack GROUP BY stage_id, update_index, position HAVING count(*) > 1 LIMIT 1',
  'SELECT 1 FROM response GROUP BY attack_id, position HAVING count(*) > 1 LIMIT 1',
];

/**
 * Two processes have written one run. Neither may be dropped: metrics, costs and what was trained come from both.
 * @throws FloodgateError `store`.
 */
function refuseDoubles(db: Database.Database): void {
  if (DOUBLED.every((sql) => db.prepare(sql).raw().get() === undefined)) return;
  throw new FloodgateError('store', 'open run database: two processes have written the same update of this run', {
    hint: 'start the run again; floodgate show and report still read this one',
  });
}

/**
 * Brings `db` to the newest schema, all versions in one transaction.
 * @throws FloodgateError `store` when the file is another program's database, a newer Floodgate's, or has doubled rows.
 */
export function migrate(db: Database.Database): void {
  const version = checkedVersion(db);
  if (version === SCHEMA_VERSION) return;
  if (version > 0 && version < FIRST_WITHOUT_DOUBLES) refuseDoubles(db);
  transact(db, () => {
    for (const script of MIGRATIONS.slice(version)) db.exec(script);
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
    db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  });
}
