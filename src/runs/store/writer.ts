import type Database from 'libsql';
import { nowMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { Unanswered } from '../../trial/call-log.ts';
import type { VerdictRecord } from '../../trial/evidence.ts';
import type { AttackRow, CostRecord, EventRecord, MetricRecord, StageStatus, UpdateRecord } from './records.ts';
import { guardSqlite, numberToCell, textToCell, transact } from './sqlite.ts';

export interface StoreWriter {
  /**
   * Stores one update whole, in one transaction; it is on disk on return. Returns the ids of its attacks, in order.
   * @throws FloodgateError `store` when the disk refuses, or one judge has two verdicts on one response.
   */
  recordUpdate(record: UpdateRecord): number[];
  /** Opens a stage, or reopens it after an interruption; keeps its first start time. */
  beginStage(name: string, updatesPlanned: number): void;
  endStage(name: string, status: StageStatus): void;
  /** Adds another judge's verdicts on stored responses; a verdict of the same judge is replaced. */
  recordVerdicts(verdicts: readonly (VerdictRecord & { readonly responseId: number })[]): void;
  /** An event of the run, not of an update: started, interrupted, resumed. */
  recordEvent(event: EventRecord, stage?: string): void;
  /** A fact about the run under its name, e.g. its status. */
  setInfo(key: string, value: string): void;
  /**
   * Deletes everything of `stage` after `update` (-1: all of it), because it will be made again. Adds its cost to the
   * repeated calls in the same transaction.
   */
  truncateAfter(stage: string, update: number): void;
  /** Counts calls of a stage whose answers never came among the repeated calls: a resume asks for them again. */
  recordUnanswered(stage: string, calls: Unanswered): void;
  /** From now on, calls whose answers are kept elsewhere are not counted among the repeated calls of a truncation. */
  keepsCalls(kept: KeptCalls): void;
}

/** Calls that are not made again when their rows are: their answers are in the log of the run. */
export interface KeptCalls {
  /** Those of the target. One that failed is asked again; the log itself counts it. */
  readonly target: boolean;
  /** Names of judges whose scored verdicts are kept. */
  readonly judges: ReadonlySet<string>;
}

/** Returns the id of a stage that has begun. */
export function createStageIds(db: Database.Database): (name: string) => number {
  const select = db.prepare('SELECT id FROM stage WHERE name = ?').raw();
  return (name) => {
    const row = select.get([name]) as [number] | undefined;
    if (row === undefined)
      throw new FloodgateError('store', `run database: got stage ${name}, expected one that has begun`);
    return row[0];
  };
}

/** An update's key in the tables. */
interface Place {
  readonly stageId: number;
  readonly update: number;
}

const INSERT_ATTACK = `INSERT INTO attack (stage_id, update_index, position, source, ids, text, log_pi, log_p_ref,
  fluency, log_reward, mean_unsafe, response_count, cell) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const INSERT_RESPONSE =
  'INSERT INTO response (attack_id, position, text, tokens, truncated, refused) VALUES (?, ?, ?, ?, ?, ?)';
/** A second verdict of one judge on one response breaks the table's key: the update is refused whole. */
const INSERT_VERDICT = 'INSERT INTO verdict (response_id, judge, masked, unsafe, reason) VALUES (?, ?, ?, ?, ?)';
const REPLACE_VERDICT = INSERT_VERDICT.replace('INSERT', 'INSERT OR REPLACE');
const INSERT_METRIC = `INSERT OR REPLACE INTO metric (stage_id, update_index, name, judge, value, low, high, n,
  method, confidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const INSERT_EVENT =
  'INSERT INTO event (time_ms, stage_id, update_index, level, code, message) VALUES (?, ?, ?, ?, ?, ?)';
const ADD_COST = `INSERT INTO cost (stage_id, update_index, target_calls, judge_calls, tokens, seconds)
  VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (stage_id, update_index) DO UPDATE SET
  target_calls = target_calls + excluded.target_calls, judge_calls = judge_calls + excluded.judge_calls,
  tokens = tokens + excluded.tokens, seconds = seconds + excluded.seconds`;
const BEGIN_STAGE = `INSERT INTO stage (name, status, updates_planned, started_ms) VALUES (?, 'running', ?, ?)
  ON CONFLICT (name) DO UPDATE SET status = 'running', updates_planned = excluded.updates_planned, finished_ms = NULL`;

/** The insertions of one update, each a prepared statement. */
function createInsertions(db: Database.Database) {
  const attackRow = db.prepare(INSERT_ATTACK);
  const responseRow = db.prepare(INSERT_RESPONSE);
  const newVerdict = db.prepare(INSERT_VERDICT);
  const replacedVerdict = db.prepare(REPLACE_VERDICT);
  const metricRow = db.prepare(INSERT_METRIC);
  const eventRow = db.prepare(INSERT_EVENT);
  const costRow = db.prepare(ADD_COST);

  const verdictCells = (responseId: number, { judge, masked, unsafe, reason }: VerdictRecord) => {
    const why = reason === undefined ? null : textToCell(reason);
    return [responseId, judge, masked ? 1 : 0, numberToCell('unsafe', unsafe), why];
  };
  const verdict = (responseId: number, record: VerdictRecord): void => {
    replacedVerdict.run(verdictCells(responseId, record));
  };
  const attack = ({ stageId, update }: Place, position: number, record: AttackRow): number => {
    const { lastInsertRowid } = attackRow.run([
      stageId,
      update,
      position,
      record.source,
      JSON.stringify(record.ids),
      textToCell(record.text),
      numberToCell('log_pi', record.logPi ?? null),
      numberToCell('log_p_ref', record.logPRef ?? null),
      numberToCell('fluency', record.fluency ?? null),
      numberToCell('log_reward', record.logReward ?? null),
      numberToCell('mean_unsafe', record.meanUnsafe ?? null),
      record.responses.length,
      record.cell ?? null,
    ]);
    const attackId = Number(lastInsertRowid);
    for (const [index, { text, tokens, truncated, refused, verdicts }] of record.responses.entries()) {
      const refusal = refused === undefined ? null : textToCell(refused);
      const stored = responseRow.run([attackId, index, textToCell(text), tokens, truncated ? 1 : 0, refusal]);
      for (const each of verdicts) newVerdict.run(verdictCells(Number(stored.lastInsertRowid), each));
    }
    return attackId;
  };
  const metric = ({ stageId, update }: Place, record: MetricRecord): void => {
    const { name, judge = '', value, low, high, n, method = null, confidence = null } = record;
    const cells = [numberToCell(name, value), numberToCell(name, low), numberToCell(name, high)];
    metricRow.run([stageId, update, name, judge, ...cells, n, method, confidence]);
  };
  const event = (place: { stageId: number | null; update: number | null }, record: EventRecord): void => {
    eventRow.run([nowMs(), place.stageId, place.update, record.level, record.code, textToCell(record.message)]);
  };
  const cost = ({ stageId, update }: Place, { targetCalls, judgeCalls, tokens, seconds }: CostRecord): void => {
    costRow.run([stageId, update, targetCalls, judgeCalls, tokens, numberToCell('seconds', seconds)]);
  };
  return { attack, verdict, metric, event, cost };
}

/** Returns the writing half of a run database. */
export function createStoreWriter(db: Database.Database): StoreWriter {
  const stageIdOf = createStageIds(db);
  const insert = createInsertions(db);
  const begin = db.prepare(BEGIN_STAGE);
  const end = db.prepare('UPDATE stage SET status = ?, finished_ms = ? WHERE id = ?');
  const info = db.prepare('INSERT OR REPLACE INTO run_info (key, value) VALUES (?, ?)');
  const truncate = createTruncation(db);
  const countUnanswered = createUnansweredCount(db);
  let kept: KeptCalls = { target: false, judges: new Set() };

  const store = (record: UpdateRecord): number[] => {
    const place = { stageId: stageIdOf(record.stage), update: record.update };
    const { attacks = [], firstPosition = 0 } = record;
    const ids = attacks.map((attack, i) => insert.attack(place, firstPosition + i, attack));
    for (const metric of record.metrics ?? []) insert.metric(place, metric);
    for (const event of record.events ?? []) insert.event(place, event);
    if (record.cost !== undefined) insert.cost(place, record.cost);
    return ids;
  };
  const write = <T>(work: () => T): T => guardSqlite('write run database', () => transact(db, work));

  return {
    recordUpdate: (record) => write(() => store(record)),
    beginStage: (name, updatesPlanned) => write(() => void begin.run([name, updatesPlanned, nowMs()])),
    endStage: (name, status) => write(() => void end.run([status, nowMs(), stageIdOf(name)])),
    recordVerdicts: (verdicts) =>
      write(() => {
        for (const { responseId, ...verdict } of verdicts) insert.verdict(responseId, verdict);
      }),
    recordEvent: (event, stage) =>
      write(() => insert.event({ stageId: stage === undefined ? null : stageIdOf(stage), update: null }, event)),
    setInfo: (key, value) => write(() => void info.run([key, value])),
    truncateAfter: (stage, update) => write(() => truncate(stageIdOf(stage), update, kept)),
    recordUnanswered: (stage, calls) => write(() => countUnanswered(stageIdOf(stage), calls)),
    keepsCalls: (calls) => {
      kept = calls;
    },
  };
}

/** The writing half of a database that is open for reading. */
export function createRefusingWriter(): StoreWriter {
  const refuse = (): never => {
    throw new FloodgateError('store', 'write run database: it is open read-only');
  };
  return {
    recordUpdate: refuse,
    beginStage: refuse,
    endStage: refuse,
    recordVerdicts: refuse,
    recordEvent: refuse,
    setInfo: refuse,
    truncateAfter: refuse,
    recordUnanswered: refuse,
    keepsCalls: refuse,
  };
}

const INSERT_REPEATED = `INSERT INTO repeated_calls (time_ms, stage_id, after_update, attacks, responses, verdicts,
  target_calls, judge_calls, tokens, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;

const LATER = 'stage_id = ? AND update_index > ?';
const LATER_RESPONSES = `response WHERE attack_id IN (SELECT id FROM attack WHERE ${LATER})`;

/**
 * Returns the truncation of a stage: it counts everything after an update, then deletes it. Calls of an interrupted
 * update that was never stored are not counted here: `recordUnanswered` has those that a log of calls has noted.
 */
function createTruncation(db: Database.Database): (stageId: number, update: number, kept: KeptCalls) => void {
  const counts = db
    .prepare(
      `SELECT (SELECT count(*) FROM attack WHERE ${LATER}), (SELECT count(*) FROM ${LATER_RESPONSES}),
        (SELECT count(*) FROM verdict WHERE response_id IN (SELECT id FROM ${LATER_RESPONSES}))`,
    )
    .raw();
  const cost = db
    .prepare(
      `SELECT coalesce(sum(target_calls), 0), coalesce(sum(judge_calls), 0), coalesce(sum(tokens), 0),
        coalesce(sum(seconds), 0) FROM cost WHERE ${LATER}`,
    )
    .raw();
  const answered = db.prepare(`SELECT coalesce(sum(tokens), 0) FROM ${LATER_RESPONSES}`).raw();
  const judged = db
    .prepare(
      `SELECT judge, count(*) FROM verdict JOIN response ON response.id = response_id
        WHERE unsafe IS NOT NULL AND refused IS NULL AND response_id IN (SELECT id FROM ${LATER_RESPONSES})
        GROUP BY judge`,
    )
    .raw();
  /** Calls and tokens behind the rows that need not be paid again. */
  const keptCalls = (key: readonly number[], { target, judges }: KeptCalls) => {
    const [tokens = 0] = target ? (answered.get(key) as number[]) : [];
    const verdicts = judges.size === 0 ? [] : (judged.all(key) as [string, number][]);
    return { tokens, judgeCalls: verdicts.reduce((sum, [judge, count]) => sum + (judges.has(judge) ? count : 0), 0) };
  };
  const remember = db.prepare(INSERT_REPEATED);
  // Responses and verdicts go with their attacks (ON DELETE CASCADE).
  const deletions = ['attack', 'metric', 'event', 'cost'].map((table) =>
    db.prepare(`DELETE FROM ${table} WHERE ${LATER}`),
  );

  return (stageId, update, kept) => {
    const key = [stageId, update];
    const [attacks, responses, verdicts] = counts.get([...key, ...key, ...key]) as number[];
    const [targetCalls = 0, judgeCalls = 0, tokens = 0, seconds = 0] = cost.get(key) as number[];
    const again = keptCalls(key, kept);
    const spent = [kept.target ? 0 : targetCalls, judgeCalls - again.judgeCalls, tokens - again.tokens, seconds];
    if (attacks !== 0 || spent.some((amount) => amount !== 0))
      remember.run([nowMs(), stageId, update, attacks, responses, verdicts, ...spent]);
    for (const deletion of deletions) deletion.run(key);
  };
}

/** Returns the count of calls whose answers never came: they left no rows, and their tokens are not known. */
function createUnansweredCount(db: Database.Database): (stageId: number, calls: Unanswered) => void {
  const newest = db.prepare('SELECT coalesce(max(update_index), -1) FROM cost WHERE stage_id = ?').raw();
  const remember = db.prepare(INSERT_REPEATED);
  return (stageId, { targetCalls, judgeCalls }) => {
    const [last] = newest.get([stageId]) as [number];
    remember.run([nowMs(), stageId, last, 0, 0, 0, targetCalls, judgeCalls, 0, 0]);
  };
}
