import type Database from 'libsql';
import type { AttackSource } from '../../learning/attack.ts';
import { SUCCESS_THRESHOLD } from '../../learning/reward/reward.ts';
import {
  ANSWERS_OF_SLICE,
  type AttackPageFilter,
  attackColumns,
  HAS_UNSCORED,
  notedBy,
  SCORED_COUNTS,
  sliceStatement,
  textValues,
  VERDICTS_ALONE,
  VERDICTS_OF_SLICE,
} from './attack-filter.ts';
import { descend } from './attack-slices.ts';
import { RESPONSES, rowsToResponses } from './queries.ts';
import type { StoredResponse } from './records.ts';
import { openForReading } from './run-store.ts';
import { cellToText, guardSqlite } from './sqlite.ts';

export interface AttackPageWish extends AttackPageFilter {
  /** Only attacks stored before the one with this id. Default: from the newest on. */
  readonly before?: number;
  readonly limit: number;
  /** Ends the search early, with what was found so far. */
  readonly signal?: AbortSignal;
}

/** One row of a page. */
export interface PagedAttack {
  readonly id: number;
  readonly stage: string;
  readonly update: number;
  readonly source: AttackSource;
  readonly text: string;
  /** Mean P(unsafe) by the judge of the filter, else by the training judge. */
  readonly meanUnsafe: number | null;
  readonly logReward: number | null;
  readonly responseCount: number;
  /** Name of the cell whose prompt it continued; null for an attack without one. */
  readonly cell: string | null;
}

export interface AttackPage {
  /** The newest first. */
  readonly attacks: readonly PagedAttack[];
  /** `before` of the next page; null at the end. */
  readonly next: number | null;
  /** False where time ran out before the page was full: `next` continues the search. */
  readonly isFull: boolean;
}

/** Pages of attacks of one run database, read only. */
export interface AttackPages {
  page(wish: AttackPageWish): Promise<AttackPage>;
  /** The text of one attack; undefined where there is none of this id. */
  text(id: number): string | undefined;
  /** Different texts of a stage that succeeded by the training judge; `isFull` is false where time ran out. */
  successTexts(stage: string, signal?: AbortSignal): Promise<{ readonly count: number; readonly isFull: boolean }>;
  /** Tells `use` the notes of unsafe verdicts, some of them several times. False where time ran out before the last. */
  eachNote(use: (note: string) => void, signal?: AbortSignal): Promise<boolean>;
  /** One attack with all its responses and verdicts; undefined where there is none of this id. */
  attack(id: number): { readonly attack: PagedAttack; readonly responses: readonly StoredResponse[] } | undefined;
  close(): void;
}

/** Attacks that one statement hands out to be looked at here. */
const CANDIDATES = 2000;
/** A search reads every row: mapped, its pages are not copied first. Only address space, not memory. */
const MAX_MAPPED_BYTES = 2 ** 33;

const SUCCESS_TEXTS = `SELECT DISTINCT text FROM attack WHERE id >= $from AND id < $before AND +stage_id = $stage
  AND mean_unsafe > ${SUCCESS_THRESHOLD}`;

export type Cells = readonly unknown[];

/** Each call prepares its statement: those of pages differ. */
export function selectCells(db: Database.Database, sql: string, values: object): Cells[] {
  return guardSqlite('read run database', () => db.prepare(sql).raw().all(values) as Cells[]);
}

export function stageNamesOf(db: Database.Database): Map<number, string> {
  const rows = selectCells(db, 'SELECT id, name FROM stage', []);
  return new Map(rows.map(([id, name]) => [id as number, name as string]));
}

export function toPagedAttack(row: Cells, stages: ReadonlyMap<number, string>): PagedAttack {
  const [id, stageId, update, source, text, meanUnsafe, logReward, responseCount, cell] = row;
  return {
    id: id as number,
    stage: stages.get(stageId as number) ?? '',
    update: update as number,
    source: source as AttackSource,
    text: cellToText(text),
    meanUnsafe: meanUnsafe as number | null,
    logReward: logReward as number | null,
    responseCount: responseCount as number,
    cell: cell as string | null,
  };
}

/** Ids of attacks, the second one excluded. */
interface Slice {
  readonly from: number;
  readonly before: number;
}

/** The same test, which looks at each text once. */
function remembering(test: (text: string) => boolean): (text: string) => boolean {
  const known = new Map<string, boolean>();
  return (text) => {
    const result = known.get(text) ?? test(text);
    known.set(text, result);
    return result;
  };
}

class Reader implements AttackPages {
  private readonly db: Database.Database;

  constructor(db: Database.Database) {
    this.db = db;
  }

  private select(sql: string, values: object): Cells[] {
    return selectCells(this.db, sql, values);
  }

  /** The ids between which all attacks of a stage are; its own index answers. */
  private span(stageId: number | undefined): readonly [low: number, high: number] | undefined {
    const [[low, high] = []] =
      stageId === undefined
        ? this.select('SELECT (SELECT min(id) FROM attack), (SELECT max(id) FROM attack)', [])
        : this.select('SELECT min(id), max(id) FROM attack WHERE stage_id = ?', [stageId]);
    return typeof low === 'number' && typeof high === 'number' ? [low, high] : undefined;
  }

  async page({ before, limit, signal, ...filter }: AttackPageWish): Promise<AttackPage> {
    const names = stageNamesOf(this.db);
    const stageId = [...names].find(([, name]) => name === filter.stage)?.[0];
    const span = filter.stage !== undefined && stageId === undefined ? undefined : this.span(stageId);
    if (span === undefined) return { attacks: [], next: null, isFull: true };
    const [low, high] = span;
    const sql = sliceStatement(filter);
    const { source, cell, judge, accepts, noted } = filter;
    const given = {
      ...(stageId === undefined ? {} : { stage: stageId }),
      ...(source === undefined ? {} : { source }),
      ...(cell === undefined ? {} : { cell }),
      ...(judge === undefined ? {} : { judge }),
      ...textValues(filter),
    };
    const isNoted = noted === undefined ? undefined : remembering(noted);
    const mayBeUnscored = judge !== undefined && filter.outcome === 'unscored' && noted === undefined;
    const attacks: PagedAttack[] = [];
    const descent = { low, top: Math.min(before ?? Number.MAX_SAFE_INTEGER, high + 1), signal };
    const top = await descend(descent, (from, until) => {
      const ids = isNoted === undefined ? undefined : this.notedIds({ from, before: until }, judge, isNoted);
      if (ids?.length === 0) return { top: from };
      if (mayBeUnscored && !this.hasUnscored({ from, before: until }, judge)) return { top: from };
      const most = accepts === undefined ? limit - attacks.length : CANDIDATES;
      const more = ids === undefined ? {} : { ids: JSON.stringify(ids) };
      const rows = this.select(sql, { ...given, ...more, before: until, from, limit: most });
      for (const row of rows) {
        const attack = toPagedAttack(row, names);
        if (accepts?.(attack.text) ?? true) attacks.push(attack);
        if (attacks.length === limit) return { top: attack.id, isEnough: true };
      }
      return { top: rows.length === most ? (rows.at(-1)?.[0] as number) : from };
    });
    return { attacks, next: top > low ? top : null, isFull: attacks.length === limit || top <= low };
  }

  /** The attacks of a slice with an unsafe verdict whose note is meant; the distinct notes are few, so they come first. */
  private notedIds(slice: Slice, judge: string | undefined, isMeant: (note: string) => boolean): number[] {
    const [[low, high] = []] = this.select(ANSWERS_OF_SLICE, slice);
    if (typeof low !== 'number' || typeof high !== 'number') return [];
    const given = { low, high, ...(judge === undefined ? {} : { judge }) };
    const notes = this.select(`SELECT DISTINCT reason ${VERDICTS_ALONE} AND ${notedBy(judge)}`, given);
    const meant = notes.map(([note]) => note as string).filter(isMeant);
    if (meant.length === 0) return [];
    const sql = `SELECT DISTINCT attack_id ${VERDICTS_OF_SLICE} AND ${notedBy(judge)}
      AND attack_id >= $from AND attack_id < $before AND reason IN (SELECT value FROM json_each($notes))`;
    return this.select(sql, { ...given, ...slice, notes: JSON.stringify(meant) }).map(([id]) => id as number);
  }

  /** True where a judge left an attack of a slice without a score. Most slices have none, and need no look at each. */
  private hasUnscored(slice: Slice, judge: string): boolean {
    const [[low, high] = []] = this.select(ANSWERS_OF_SLICE, slice);
    if (typeof low !== 'number' || typeof high !== 'number') return true;
    const [counts = []] = this.select(SCORED_COUNTS, { ...slice, low, high, judge });
    const [attacks, firstAnswers, answers, scored] = counts;
    // Answers of other attacks may lie between these: then their verdicts are counted, too, and the counts differ.
    if (attacks === firstAnswers && answers === scored && answers === high - low + 1) return false;
    return this.select(HAS_UNSCORED, { ...slice, judge }).length > 0;
  }

  attack(id: number) {
    const [row] = this.select(`${attackColumns('mean_unsafe')} WHERE attack.id = $id`, { id });
    if (row === undefined) return undefined;
    const responses = this.select(RESPONSES, [id]);
    return { attack: toPagedAttack(row, stageNamesOf(this.db)), responses: rowsToResponses(responses) };
  }

  text(id: number): string | undefined {
    const [row] = this.select('SELECT text FROM attack WHERE id = ?', [id]);
    return row === undefined ? undefined : cellToText(row[0]);
  }

  async successTexts(stage: string, signal?: AbortSignal) {
    const stageId = [...stageNamesOf(this.db)].find(([, name]) => name === stage)?.[0];
    const span = stageId === undefined ? undefined : this.span(stageId);
    if (span === undefined) return { count: 0, isFull: true };
    const [low, high] = span;
    const texts = new Set<string>();
    const top = await descend({ low, top: high + 1, signal }, (from, before) => {
      for (const [text] of this.select(SUCCESS_TEXTS, { from, before, stage: stageId })) texts.add(cellToText(text));
      return { top: from };
    });
    return { count: texts.size, isFull: top <= low };
  }

  async eachNote(use: (note: string) => void, signal?: AbortSignal): Promise<boolean> {
    const [[low, high] = []] = this.select('SELECT (SELECT min(id) FROM response), (SELECT max(id) FROM response)', []);
    if (typeof low !== 'number' || typeof high !== 'number') return true;
    const sql = `SELECT DISTINCT reason FROM verdict WHERE response_id >= ? AND response_id < ? AND ${notedBy(undefined)}`;
    const top = await descend({ low, top: high + 1, signal }, (from, before) => {
      for (const [note] of this.select(sql, [from, before])) use(note as string);
      return { top: from };
    });
    return top <= low;
  }

  close(): void {
    this.db.close();
  }
}

/** @throws FloodgateError `store` as `openStore` does. */
export function openAttackPages(path: string): AttackPages {
  const db = openForReading(path);
  db.exec(`PRAGMA mmap_size = ${MAX_MAPPED_BYTES}`);
  return new Reader(db);
}
