import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { pathToFileURL } from 'node:url';
import type Database from 'libsql';
import { z } from 'zod';
import { nowMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import {
  type GrowingLabels,
  type Label,
  type Labels,
  labelsOf,
  MAX_LABELS,
  MAX_WHO,
  type NewLabel,
  NO_LABELS,
  parseLabel,
  refuseCircle,
  rowNumber,
} from './labels.ts';
import { canWrite, cellToText, guardSqlite, openDatabaseOf, textToCell, transact } from './sqlite.ts';

/** `Fgla`: tells labels from any other SQLite file. */
const APPLICATION_ID = 0x46676c61;
const MOVE = 'move the file away: the run itself is whole';

/** The name under which a label is stored unless another is given. */
export function systemUser(): string {
  try {
    return userInfo().username.slice(0, MAX_WHO) || 'unknown';
  } catch {
    return 'unknown'; // a user id without a name, as in a container
  }
}

/** @throws FloodgateError `usage`. */
export function parseWho(text: string): string {
  const who = text.trim();
  if (who !== '' && who.length <= MAX_WHO) return who;
  throw new FloodgateError('usage', `label: --who: expected 1 to ${MAX_WHO} characters`);
}

const SCHEMA = `CREATE TABLE IF NOT EXISTS label (
    id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, who TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
    judge TEXT, value TEXT, note TEXT, attack INTEGER, response INTEGER, original INTEGER);
  PRAGMA application_id = ${APPLICATION_ID};`;
const INSERT = `INSERT INTO label (at_ms, who, kind, subject, judge, value, note, attack, response, original)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const SELECT = `SELECT id, at_ms, who, kind, subject, judge, value, note, attack, response, original FROM label
  ORDER BY id LIMIT ${MAX_LABELS + 1}`;

type Row = readonly unknown[];
const textOrNull = (cell: unknown): string | null => (cell === null ? null : cellToText(cell));

const stored = z.object({ id: rowNumber, atMs: z.number(), who: z.string().max(MAX_WHO) });

function rowToLabel([id, atMs, who, kind, subject, judge, value, note, attack, response, original]: Row): Label {
  const given = { kind, subject, value: textOrNull(value), note: textOrNull(note), attack, response };
  const more = kind === 'verdict' ? { judge: textOrNull(judge) } : kind === 'duplicate' ? { original } : {};
  const own = stored.parse({ id, atMs, who: textOrNull(who) });
  return { ...parseLabel({ ...given, ...more }), id: own.id, who: own.who, at: new Date(own.atMs).toISOString() };
}

/** @throws FloodgateError `store` for the database of another program. */
function isEmptyOrOurs(db: Database.Database, path: string): 'empty' | 'ours' {
  const [id] = db.prepare('PRAGMA application_id').raw().get() as [number];
  if (id === APPLICATION_ID) return 'ours';
  if (db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').raw().get() === undefined) return 'empty';
  throw new FloodgateError('store', `open labels: ${path} is a database of another program`, { hint: MOVE });
}

function readRows(db: Database.Database, path: string): GrowingLabels {
  const rows = db.prepare(SELECT).raw().all() as Row[];
  if (rows.length > MAX_LABELS)
    throw new FloodgateError('store', `open labels: ${path} holds more than ${MAX_LABELS} rows`, { hint: MOVE });
  try {
    return labelsOf(rows.map(rowToLabel));
  } catch (cause) {
    throw new FloodgateError('store', `open labels: ${path} holds a row that is no label`, { cause, hint: MOVE });
  }
}

/** Where SQLite counts the transactions of a file, and how many bytes the count has. */
const COUNTER = { at: 24, bytes: 4 };
/** More runs than one process shows at once; a map without a bound would grow with every run. */
const MAX_REMEMBERED = 64;
const remembered = new Map<string, { readonly mark: string; readonly labels: Labels }>();

/** Differs after every change of the file; undefined while a killed writer's journal is there. */
function markOf(path: string): string | undefined {
  if (existsSync(`${path}-journal`)) return undefined;
  const file = openSync(path, 'r');
  try {
    const counter = Buffer.alloc(COUNTER.bytes);
    readSync(file, counter, 0, COUNTER.bytes, COUNTER.at);
    const { dev, ino, size } = fstatSync(file);
    return `${dev} ${ino} ${size} ${counter.toString('hex')}`;
  } finally {
    closeSync(file);
  }
}

function readFile(path: string): Labels {
  // A writer that was killed leaves its journal: only who may write can take the half row back.
  const db = openDatabaseOf('labels', canWrite(path) ? path : `${pathToFileURL(path).href}?mode=ro`);
  try {
    return guardSqlite('read labels', () => (isEmptyOrOurs(db, path) === 'empty' ? NO_LABELS : readRows(db, path)));
  } finally {
    db.close();
  }
}

/**
 * Reads the labels of a run; none where the file is missing. A file that did not change is not read again.
 * @throws FloodgateError `store`.
 */
export function readLabels(path: string): Labels {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return NO_LABELS;
  // A pipe would hold up the reader for ever.
  if (!found.isFile()) throw new FloodgateError('store', `open labels: ${path} is no file`, { hint: MOVE });
  const mark = markOf(path);
  const known = remembered.get(path);
  if (known !== undefined && known.mark === mark) return known.labels;
  const labels = readFile(path);
  if (remembered.size >= MAX_REMEMBERED) remembered.clear();
  if (mark !== undefined) remembered.set(path, { mark, labels });
  return labels;
}

/**
 * Appends labels, all of them or none; makes the file where it is missing. Labels are a file of their own beside the
 * run database: a reader never writes into a run, and a run that trains never waits for a reader. Without a write-ahead
 * log the file is whole by itself, so that a copy of the folder has every label.
 * @throws FloodgateError `usage` for a duplicate of itself, `store` when the disk refuses.
 */
export function addLabels(path: string, given: readonly NewLabel[], name = systemUser()): Label[] {
  const labels = given.map(parseLabel);
  return append(path, parseWho(name), () => labels);
}

/**
 * Takes back a label that holds, by a further row. It needs the text of no attack: a label whose text a resume replaced
 * can be taken back, too.
 * @param id row of the label.
 * @throws FloodgateError `usage` where no label of this row holds, `store` when the disk refuses.
 */
export function withdrawLabel(path: string, id: number, name = systemUser()): Label {
  const withdrawalIn = ({ all }: Pick<Labels, 'all'>): ParsedLabel => {
    const label = all.find((each) => each.id === id);
    if (label === undefined)
      throw new FloodgateError('usage', `label: no label with the number ${id} holds`, {
        hint: 'floodgate label list shows those that hold',
      });
    const { id: _id, at: _at, who: _who, ...rest } = label;
    return parseLabel({ ...rest, value: null, note: null });
  };
  withdrawalIn(readLabels(path)); // a missing file stays missing
  const [row] = append(path, parseWho(name), (before) => [withdrawalIn(before)]);
  return row as Label;
}

type ParsedLabel = ReturnType<typeof parseLabel>;

/** Appends the labels that `make` says, once no other process can write. */
function append(path: string, who: string, make: (before: GrowingLabels) => readonly ParsedLabel[]): Label[] {
  const db = openDatabaseOf('labels', path);
  try {
    return guardSqlite('write labels', () => {
      db.exec('PRAGMA synchronous = FULL');
      return transact(db, () => {
        if (isEmptyOrOurs(db, path) === 'empty') db.exec(SCHEMA);
        const before = readRows(db, path);
        const labels = make(before);
        if (before.history.length + labels.length > MAX_LABELS)
          throw new FloodgateError('usage', `label: a run holds at most ${MAX_LABELS} labels`);
        return insertAll(db, { before, labels, who });
      });
    });
  } finally {
    db.close();
  }
}

interface Insertion {
  readonly before: GrowingLabels;
  readonly labels: readonly ParsedLabel[];
  readonly who: string;
}

function insertAll(db: Database.Database, { before, labels, who }: Insertion): Label[] {
  const insert = db.prepare(INSERT);
  return labels.map((label) => {
    refuseCircle(before, label);
    const atMs = nowMs();
    const judge = label.kind === 'verdict' ? label.judge : null;
    const { kind, subject, value, note, attack, response } = label;
    const texts = [judge, value, note].map((text) => (text === null ? null : textToCell(text)));
    const places = [attack, response, label.kind === 'duplicate' ? label.original : null];
    const { lastInsertRowid } = insert.run([atMs, textToCell(who), kind, subject, ...texts, ...places]);
    const row: Label = { ...label, id: Number(lastInsertRowid), at: new Date(atMs).toISOString(), who };
    before.put(row);
    return row;
  });
}
