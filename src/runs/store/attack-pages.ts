import type Database from 'libsql';
import type { AttackSource } from '../../learning/attack.ts';
import { SUCCESS_THRESHOLD } from '../../learning/reward/reward.ts';
import { descend, SLICE } from './attack-slices.ts';
import { RESPONSES, rowsToResponses } from './queries.ts';
import type { StoredResponse } from './records.ts';
import { openForReading } from './run-store.ts';
import { cellToText, guardSqlite } from './sqlite.ts';

/** Attacks by their outcome: `unscored` where no response could be scored. */
export type OutcomeFilter = 'success' | 'failure' | 'unscored';

export interface AttackPageFilter {
  readonly stage?: string;
  readonly source?: AttackSource;
  readonly outcome?: OutcomeFilter;
  /** Whose verdicts say the outcome. Default: the training judge, as the attack's row holds it. */
  readonly judge?: string;
  /** Part of the text; ASCII letters match in either case. */
  readonly search?: string;
  /** Only attacks with one of these texts. */
  readonly texts?: readonly string[];
  /** ASCII words: each attack that `accepts` can take holds one of them. They spare it most of the others. */
  readonly holds?: readonly string[];
  /** A further condition on the text. */
  readonly accepts?: (text: string) => boolean;
  /** Only attacks with an unsafe verdict whose note this takes: one of `judge`, where that is given. */
  readonly noted?: (note: string) => boolean;
}

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
  /** Tells `use` the notes of unsafe verdicts, some of them several times. False where time ran out before the last. */
  eachNote(use: (note: string) => void, signal?: AbortSignal): Promise<boolean>;
  /** One attack with all its responses and verdicts; undefined where there is none of this id. */
  attack(id: number): { readonly attack: PagedAttack; readonly responses: readonly StoredResponse[] } | undefined;
  close(): void;
}

/** Attacks whose verdicts one statement may look at, for the same time. */
const NOTED_SLICE = 10_000;
/** Attacks that one statement hands out to be looked at here. */
const CANDIDATES = 2000;
/** More words would cost more than they spare. */
const MAX_HELD_WORDS = 64;
/** A search reads every row: mapped, its pages are not copied first. Only address space, not memory. */
const MAX_MAPPED_BYTES = 2 ** 33;

/** Mean over the scored responses, as `attackOutcome` computes it. */
export const MEAN_BY_JUDGE = `(SELECT avg(unsafe) FROM response JOIN verdict ON response_id = response.id
  WHERE attack_id = attack.id AND judge = $judge AND masked = 0 AND unsafe BETWEEN 0 AND 1)`;

/** Verdicts on answers as they are, with a note about what is unsafe. */
const NOTED = `masked = 0 AND unsafe > ${SUCCESS_THRESHOLD} AND typeof(reason) = 'text'`;
const notesOf = (judge: string | undefined): string =>
  `FROM response JOIN verdict ON response_id = response.id WHERE attack_id = attack.id AND ${NOTED}${
    judge === undefined ? '' : ' AND judge = $judge'
  }`;

const OUTCOMES: Readonly<Record<OutcomeFilter, string>> = {
  success: `> ${SUCCESS_THRESHOLD}`,
  failure: `<= ${SUCCESS_THRESHOLD}`,
  unscored: 'IS NULL',
};

/** The columns of `toPagedAttack`, and perhaps `more`. */
export const attackColumns = (mean: string, more = ''): string =>
  `SELECT attack.id, stage_id, update_index, source, text, ${mean}, log_reward, response_count${more} FROM attack`;

/** `%`, `_` and the escape itself are letters of the text that is searched. */
const likePattern = (text: string): string => `%${text.replace(/[\\%_]/g, '\\$&')}%`;

/** The `k` of a pattern is any letter: lower case makes one of the kelvin sign, too, which LIKE does not know. */
const wordPattern = (word: string): string => likePattern(word).replace(/k/gi, '_');

/** Texts with NUL are BLOBs, which a list of texts cannot hold: they are compared as hex. */
const ONE_OF_TEXTS = `(text IN (SELECT value FROM json_each($texts)) OR
  typeof(text) = 'blob' AND hex(text) IN (SELECT value FROM json_each($blobs)))`;

function textConditions({ search, texts, holds }: AttackPageFilter): string[] {
  const words = (holds ?? []).map((_, i) => `text LIKE $word${i} ESCAPE '\\'`);
  return [
    ...(search === undefined ? [] : ["text LIKE $search ESCAPE '\\'"]),
    ...(texts === undefined ? [] : [ONE_OF_TEXTS]),
    // LIKE reads a BLOB to its first NUL.
    ...(words.length === 0 || words.length > MAX_HELD_WORDS
      ? []
      : [`(typeof(text) = 'blob' OR ${words.join(' OR ')})`]),
  ];
}

function textValues({ search, texts, holds }: AttackPageFilter): Record<string, string> {
  const isBlob = (text: string): boolean => text.includes('\0');
  const hex = (text: string): string => Buffer.from(text, 'utf8').toString('hex').toUpperCase();
  const words = (holds ?? []).length > MAX_HELD_WORDS ? [] : (holds ?? []);
  return {
    ...(search === undefined ? {} : { search: likePattern(search) }),
    ...(texts === undefined ? {} : { texts: JSON.stringify(texts.filter((text) => !isBlob(text))) }),
    ...(texts === undefined ? {} : { blobs: JSON.stringify(texts.filter(isBlob).map(hex)) }),
    ...Object.fromEntries(words.map((word, i) => [`word${i}`, wordPattern(word)])),
  };
}

/** The statement of one slice. `+` keeps SQLite at the row ids: another index would have to sort. */
function sliceStatement(filter: AttackPageFilter): string {
  const { stage, source, outcome, judge, noted } = filter;
  const mean = judge === undefined ? 'mean_unsafe' : MEAN_BY_JUDGE;
  const notes = noted === undefined ? '' : `, (SELECT json_group_array(reason) ${notesOf(judge)})`;
  const conditions = [
    'attack.id < $before AND attack.id >= $from',
    ...(stage === undefined ? [] : ['+stage_id = $stage']),
    ...(source === undefined ? [] : ['source = $source']),
    ...textConditions(filter),
    ...(noted === undefined ? [] : [`EXISTS (SELECT 1 ${notesOf(judge)})`]),
    ...(outcome === undefined ? [] : [`${mean} ${OUTCOMES[outcome]}`]),
  ];
  return `${attackColumns(mean, notes)} WHERE ${conditions.join(' AND ')} ORDER BY attack.id DESC LIMIT $limit`;
}

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
  const [id, stageId, update, source, text, meanUnsafe, logReward, responseCount] = row;
  return {
    id: id as number,
    stage: stages.get(stageId as number) ?? '',
    update: update as number,
    source: source as AttackSource,
    text: cellToText(text),
    meanUnsafe: meanUnsafe as number | null,
    logReward: logReward as number | null,
    responseCount: responseCount as number,
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
    const { source, judge, accepts, noted } = filter;
    const given = {
      ...(stageId === undefined ? {} : { stage: stageId }),
      ...(source === undefined ? {} : { source }),
      ...(judge === undefined ? {} : { judge }),
      ...textValues(filter),
    };
    const isMeant = (row: Cells, { text }: PagedAttack): boolean =>
      (accepts?.(text) ?? true) && (noted === undefined || (JSON.parse(row.at(-1) as string) as string[]).some(noted));
    const isSifted = accepts !== undefined || noted !== undefined;
    const attacks: PagedAttack[] = [];
    const slice = noted === undefined ? SLICE : NOTED_SLICE;
    const descent = { low, top: Math.min(before ?? Number.MAX_SAFE_INTEGER, high + 1), slice, signal };
    const top = await descend(descent, (from, until) => {
      const most = isSifted ? CANDIDATES : limit - attacks.length;
      const rows = this.select(sql, { ...given, before: until, from, limit: most });
      for (const row of rows) {
        const attack = toPagedAttack(row, names);
        if (isMeant(row, attack)) attacks.push(attack);
        if (attacks.length === limit) return { top: attack.id, isEnough: true };
      }
      return { top: rows.length === most ? (rows.at(-1)?.[0] as number) : from };
    });
    return { attacks, next: top > low ? top : null, isFull: attacks.length === limit || top <= low };
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

  async eachNote(use: (note: string) => void, signal?: AbortSignal): Promise<boolean> {
    const [[low, high] = []] = this.select('SELECT (SELECT min(id) FROM response), (SELECT max(id) FROM response)', []);
    if (typeof low !== 'number' || typeof high !== 'number') return true;
    const sql = `SELECT DISTINCT reason FROM verdict WHERE response_id >= ? AND response_id < ? AND ${NOTED}`;
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
