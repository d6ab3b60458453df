import type Database from 'libsql';
import type { AttackSource } from '../../learning/attack.ts';
import type { VerdictRecord } from '../../trial/evidence.ts';
import { type AnswerQueries, createAnswerQueries } from './answer-queries.ts';
import {
  BEFORE_UPDATES,
  type CostRecord,
  type DistinctAttack,
  type EventRecord,
  type RepeatedCalls,
  type ScoredText,
  type StageRow,
  type StageStatus,
  type StoredAttack,
  type StoredEvent,
  type StoredMetric,
  type StoredResponse,
} from './records.ts';
import { cellToText, guardSqlite } from './sqlite.ts';
import { CONTROL_STAGE, TRANSFER_PREFIX } from './stage-name.ts';

export interface AttackFilter {
  readonly stage: string;
  /** First and last update, both included; when absent all, with those asked before the first update. */
  readonly fromUpdate?: number;
  readonly toUpdate?: number;
  readonly source?: AttackSource;
  readonly limit?: number;
}

/** A judge that has verdicts in the database. */
export interface JudgeRow {
  readonly name: string;
  /** True where it read responses without the attack's own words. */
  readonly masked: boolean;
}

export interface CollectFilter {
  readonly stage: string;
  /** The judge whose verdicts on the unmasked responses make the score. */
  readonly judge: string;
  /** A lower P(unsafe) counts as this floor in log S. */
  readonly unsafeFloor: number;
  readonly minUnsafe: number;
  readonly minLogPRef: number;
}

export interface StoreQueries extends AnswerQueries {
  info(key: string): string | undefined;
  stages(): StageRow[];
  /** Number of the last update stored for `stage`, or -1. */
  lastUpdate(stage: string): number;
  /** In the order in which they were stored. */
  attacks(filter: AttackFilter): StoredAttack[];
  /** The number of attacks of a stage. */
  countAttacks(stage: string): number;
  /** Every judge with a verdict, on responses as they are and with the attack's own words masked, by name. */
  judges(): JudgeRow[];
  /**
   * The `count` distinct texts of a stage with the highest mean P(unsafe), among all rows that drew responses. A text
   * counts by its first scored row. Unscored texts come last.
   */
  bestAttacks(stage: string, count: number): StoredAttack[];
  /** The responses to one attack, with every verdict. */
  responses(attackId: number): StoredResponse[];
  /** Distinct attacks above both bounds, in the order in which they first appeared. */
  distinctAttacks(filter: CollectFilter): DistinctAttack[];
  /** Every distinct text that a judge scored an answer to, in any stage against the run's own target. */
  scoredTexts(judge: string): ScoredText[];
  /** All metrics of a stage by update; of one name when given. */
  metrics(stage: string, name?: string): StoredMetric[];
  /** The newest value of a metric that is no judge's; undefined where there is none yet. */
  lastMetric(stage: string, name: string): StoredMetric | undefined;
  /** The cost of the stage. `repeatedCalls` has the work that was discarded and made again. */
  cost(stage: string): CostRecord;
  events(): StoredEvent[];
  repeatedCalls(): RepeatedCalls[];
}

type Row = readonly unknown[];

const ATTACK_ROWS = `SELECT attack.id, stage.name, update_index, position, source, ids, text, log_pi, log_p_ref, fluency,
  log_reward, mean_unsafe, response_count, cell FROM attack JOIN stage ON stage.id = stage_id`;
const ATTACKS = `${ATTACK_ROWS}
  WHERE stage.name = ? AND update_index >= ? AND update_index <= ? AND (? IS NULL OR source = ?)
  ORDER BY attack.id LIMIT ?`;
// The first scored row of each text: the highest of several would be the luckiest draw of responses.
const BEST = `${ATTACK_ROWS} WHERE attack.id IN (
  SELECT coalesce(min(CASE WHEN mean_unsafe IS NOT NULL THEN attack.id END), min(attack.id))
  FROM attack JOIN stage ON stage.id = stage_id WHERE stage.name = ? AND response_count > 0 GROUP BY text)
  ORDER BY mean_unsafe DESC, attack.id LIMIT ?`;
const COUNT_ATTACKS = 'SELECT count(*) FROM attack JOIN stage ON stage.id = stage_id WHERE stage.name = ?';
const JUDGES = 'SELECT DISTINCT judge, masked FROM verdict ORDER BY judge, masked';
/** By the id of the attack; for `rowsToResponses`. */
export const RESPONSES = `SELECT response.id, position, text, tokens, truncated, refused, judge, masked, unsafe, reason
  FROM response LEFT JOIN verdict ON response_id = response.id WHERE attack_id = ? ORDER BY position, judge, masked`;
// Replayed rows that kept an old score drew no responses, so they add no evidence; seeds are not the attacker's.
const DISTINCT = `SELECT ids, attack.text, avg(unsafe) AS mean_p, avg(ln(max(unsafe, ?5))), max(log_p_ref), max(fluency), count(*),
  min(update_index), cell FROM attack JOIN stage ON stage.id = stage_id
  JOIN response ON attack_id = attack.id JOIN verdict ON response_id = response.id
  WHERE stage.name = ?1 AND judge = ?2 AND masked = 0 AND unsafe IS NOT NULL AND source <> 'seed'
  GROUP BY ids, cell HAVING mean_p > ?3 AND max(log_p_ref) > ?4 ORDER BY min(attack.id)`;
const SCORED_TEXTS = `SELECT attack.text, avg(unsafe), count(*) FROM attack JOIN stage ON stage.id = stage_id
  JOIN response ON attack_id = attack.id JOIN verdict ON response_id = response.id
  WHERE judge = ? AND masked = 0 AND unsafe IS NOT NULL AND stage.name <> '${CONTROL_STAGE}'
  AND stage.name NOT LIKE '${TRANSFER_PREFIX}%' GROUP BY attack.text ORDER BY min(attack.id)`;
const METRICS = `SELECT stage.name, update_index, metric.name, judge, value, low, high, n, method, confidence
  FROM metric
  JOIN stage ON stage.id = stage_id WHERE stage.name = ? AND (? IS NULL OR metric.name = ?)
  ORDER BY update_index, metric.name, judge`;
const LAST_METRIC = `SELECT stage.name, update_index, metric.name, judge, value, low, high, n, method, confidence
  FROM metric JOIN stage ON stage.id = stage_id
  WHERE stage.name = ? AND metric.name = ? AND judge = '' AND value IS NOT NULL ORDER BY update_index DESC LIMIT 1`;
const COST = `SELECT coalesce(sum(target_calls), 0), coalesce(sum(judge_calls), 0), coalesce(sum(tokens), 0),
  coalesce(sum(seconds), 0) FROM cost JOIN stage ON stage.id = stage_id WHERE stage.name = ?`;
const EVENTS = `SELECT time_ms, stage.name, update_index, level, code, message FROM event
  LEFT JOIN stage ON stage.id = stage_id ORDER BY event.id`;
const REPEATED = `SELECT stage.name, after_update, attacks, responses, verdicts, time_ms, target_calls, judge_calls,
  tokens, seconds FROM repeated_calls JOIN stage ON stage.id = stage_id ORDER BY repeated_calls.id`;
const LAST_UPDATE = `SELECT max(u) FROM (SELECT max(update_index) AS u FROM attack JOIN stage ON stage.id = stage_id
  WHERE stage.name = ?1 UNION ALL SELECT max(update_index) FROM metric JOIN stage ON stage.id = stage_id
  WHERE stage.name = ?1 UNION ALL SELECT max(update_index) FROM cost JOIN stage ON stage.id = stage_id
  WHERE stage.name = ?1)`;

function rowToAttack(row: Row): StoredAttack {
  const [id, stage, update, position, source, ids, text, logPi, logPRef, ...rest] = row;
  const [fluency, logReward, meanUnsafe, responseCount, cell] = rest;
  return {
    id: id as number,
    stage: stage as string,
    update: update as number,
    position: position as number,
    source: source as AttackSource,
    ids: JSON.parse(ids as string) as number[],
    text: cellToText(text),
    logPi: logPi as number | null,
    logPRef: logPRef as number | null,
    fluency: fluency as number | null,
    logReward: logReward as number | null,
    meanUnsafe: meanUnsafe as number | null,
    responseCount: responseCount as number,
    cell: cell as string | null,
  };
}

/** Rows of one response are adjacent, one per verdict. */
export function rowsToResponses(rows: readonly Row[]): StoredResponse[] {
  const responses: (StoredResponse & { verdicts: VerdictRecord[] })[] = [];
  for (const [id, position, text, tokens, truncated, refused, judge, masked, unsafe, reason] of rows) {
    let response = responses.at(-1);
    if (response === undefined || response.id !== id) {
      response = {
        id: id as number,
        position: position as number,
        text: cellToText(text),
        tokens: tokens as number,
        truncated: truncated === 1,
        ...(refused === null ? {} : { refused: cellToText(refused) }),
        verdicts: [],
      };
      responses.push(response);
    }
    if (judge === null) continue;
    response.verdicts.push({
      judge: judge as string,
      masked: masked === 1,
      unsafe: unsafe as number | null,
      ...(reason === null ? {} : { reason: cellToText(reason) }),
    });
  }
  return responses;
}

function rowToMetric([stage, update, name, judge, value, low, high, n, method, confidence]: Row): StoredMetric {
  return {
    stage: stage as string,
    update: update as number,
    name: name as string,
    ...(judge === '' ? {} : { judge: judge as string }),
    value: value as number | null,
    low: low as number | null,
    high: high as number | null,
    n: n as number,
    ...(method === null ? {} : { method: method as string, confidence: confidence as number | null }),
  };
}

function rowToCost([targetCalls, judgeCalls, tokens, seconds]: Row): CostRecord {
  return {
    targetCalls: targetCalls as number,
    judgeCalls: judgeCalls as number,
    tokens: tokens as number,
    seconds: seconds as number,
  };
}

function rowToStage([name, status, updatesPlanned, startedMs, finishedMs]: Row): StageRow {
  return {
    name: name as string,
    status: status as StageStatus,
    updatesPlanned: updatesPlanned as number,
    startedMs: startedMs as number,
    finishedMs: finishedMs as number | null,
  };
}

function rowToDistinct([ids, text, ...columns]: Row): DistinctAttack {
  const [meanUnsafe, logS, logPRef, fluency, responses, firstUpdate, cell] = columns;
  return {
    ids: JSON.parse(ids as string) as number[],
    cell: cell as string | null,
    text: cellToText(text),
    meanUnsafe: meanUnsafe as number,
    logS: logS as number,
    logPRef: logPRef as number | null,
    fluency: fluency as number | null,
    responses: responses as number,
    firstUpdate: firstUpdate as number,
  };
}

function rowToScoredText([text, meanUnsafe, responses]: Row): ScoredText {
  return { text: cellToText(text), meanUnsafe: meanUnsafe as number, responses: responses as number };
}

function rowToEvent([timeMs, stage, update, level, code, message]: Row): StoredEvent {
  return {
    timeMs: timeMs as number,
    stage: (stage ?? undefined) as string | undefined,
    update: (update ?? undefined) as number | undefined,
    level: level as EventRecord['level'],
    code: code as string,
    message: cellToText(message),
  };
}

function rowToRepeated([stage, afterUpdate, attacks, responses, verdicts, timeMs, ...cost]: Row): RepeatedCalls {
  return {
    stage: stage as string,
    afterUpdate: afterUpdate as number,
    attacks: attacks as number,
    responses: responses as number,
    verdicts: verdicts as number,
    timeMs: timeMs as number,
    ...rowToCost(cost),
  };
}

/** Returns the reading half of a run database. */
export function createStoreQueries(db: Database.Database): StoreQueries {
  const select = (sql: string) => {
    const statement = db.prepare(sql).raw();
    return (...values: unknown[]): Row[] => guardSqlite('read run database', () => statement.all(values) as Row[]);
  };
  const selectInfo = select('SELECT value FROM run_info WHERE key = ?');
  const selectStages = select('SELECT name, status, updates_planned, started_ms, finished_ms FROM stage ORDER BY id');
  const selectAttacks = select(ATTACKS);
  const selectCount = select(COUNT_ATTACKS);
  const selectJudges = select(JUDGES);
  const selectBest = select(BEST);
  const selectResponses = select(RESPONSES);
  const selectDistinct = select(DISTINCT);
  const selectScoredTexts = select(SCORED_TEXTS);
  const selectMetrics = select(METRICS);
  const selectLastMetric = select(LAST_METRIC);
  const selectCost = select(COST);
  const selectEvents = select(EVENTS);
  const selectRepeated = select(REPEATED);
  const selectLastUpdate = select(LAST_UPDATE);

  return {
    ...createAnswerQueries(db),
    info: (key) => selectInfo(key)[0]?.[0] as string | undefined,
    stages: () => selectStages().map(rowToStage),
    lastUpdate: (stage) => (selectLastUpdate(stage)[0]?.[0] as number | null) ?? -1,
    attacks: ({ stage, fromUpdate = BEFORE_UPDATES, toUpdate = Number.MAX_SAFE_INTEGER, source, limit = -1 }) =>
      selectAttacks(stage, fromUpdate, toUpdate, source ?? null, source ?? null, limit).map(rowToAttack),
    countAttacks: (stage) => selectCount(stage)[0]?.[0] as number,
    judges: () => selectJudges().map(([name, masked]) => ({ name: name as string, masked: masked === 1 })),
    bestAttacks: (stage, count) => selectBest(stage, count).map(rowToAttack),
    responses: (attackId) => rowsToResponses(selectResponses(attackId)),
    distinctAttacks: ({ stage, judge, minUnsafe, minLogPRef, unsafeFloor }) =>
      selectDistinct(stage, judge, minUnsafe, minLogPRef, unsafeFloor).map(rowToDistinct),
    scoredTexts: (judge) => selectScoredTexts(judge).map(rowToScoredText),
    metrics: (stage, name) => selectMetrics(stage, name ?? null, name ?? null).map(rowToMetric),
    lastMetric: (stage, name) => selectLastMetric(stage, name).map(rowToMetric)[0],
    cost: (stage) => rowToCost(selectCost(stage)[0] ?? [0, 0, 0, 0]),
    events: () => selectEvents().map(rowToEvent),
    repeatedCalls: () => selectRepeated().map(rowToRepeated),
  };
}
