import type Database from 'libsql';
import { SUCCESS_THRESHOLD } from '../../learning/reward/reward.ts';
import { attackColumns, MEAN_BY_JUDGE } from './attack-filter.ts';
import { type Cells, type PagedAttack, selectCells, stageNamesOf, toPagedAttack } from './attack-pages.ts';
import { descend } from './attack-slices.ts';
import { openForReading } from './run-store.ts';
import { cellToText } from './sqlite.ts';

/** The outcome of one attack by one judge, over the answers that it could score. */
export interface JudgedOutcome {
  readonly judge: string;
  readonly meanUnsafe: number;
}

export interface JudgedAttack extends PagedAttack {
  /** On answers as they are; a judge that scored none of them is left out. */
  readonly judges: readonly JudgedOutcome[];
}

/** Rows of one stage that have one text. */
export interface SameText {
  readonly stage: string;
  readonly count: number;
  /** The newest few of them, the newest first. */
  readonly attacks: readonly JudgedAttack[];
}

export interface Elsewhere {
  /** The stages other than the attack's own, in their order. */
  readonly stages: readonly SameText[];
  /** False where time ran out before all rows were read: older rows are missing. */
  readonly isFull: boolean;
}

/** Attacks that have to do with another one, of one run database, read only. */
export interface RelatedAttacks {
  /** Undefined where there is no attack of this id. */
  attack(id: number): JudgedAttack | undefined;
  /** The text of one attack; undefined where there is none of this id. */
  text(id: number): string | undefined;
  /** Where else the text of an attack was sent. */
  elsewhere(id: number, signal?: AbortSignal): Promise<Elsewhere>;
  /** The successes by one judge among the first 4,096 attacks of an evaluation. */
  successes(stage: string, judge: string): PagedAttack[];
  close(): void;
}

/** As many attacks of an evaluation as a report reads. */
const MAX_EVALUATED = 4096;
/** An attacker that repeats itself would fill the answer. */
const MOST_OF_STAGE = 3;

const OF_IDS = 'IN (SELECT value FROM json_each($ids))';
const JUDGED = `SELECT attack_id, judge, avg(unsafe) FROM response JOIN verdict ON response_id = response.id
  WHERE attack_id ${OF_IDS} AND masked = 0 AND unsafe BETWEEN 0 AND 1 GROUP BY attack_id, judge ORDER BY attack_id, judge`;
const SAME = `SELECT id, stage_id FROM attack WHERE id < $before AND id >= $from AND +stage_id <> $stage
  AND text = (SELECT text FROM attack WHERE id = $id) ORDER BY id DESC`;
// The index of updates hands out the first rows of a stage without a sort.
const SUCCESSES = `${attackColumns(MEAN_BY_JUDGE)} WHERE attack.id IN (SELECT id FROM attack WHERE stage_id = $stage
  AND source = 'evaluation' ORDER BY update_index, position LIMIT ${MAX_EVALUATED})
  AND ${MEAN_BY_JUDGE} > ${SUCCESS_THRESHOLD} ORDER BY attack.id`;

class Reader implements RelatedAttacks {
  private readonly db: Database.Database;
  private readonly stages: ReadonlyMap<number, string>;

  constructor(db: Database.Database) {
    this.db = db;
    this.stages = stageNamesOf(db);
  }

  private select(sql: string, values: object): Cells[] {
    return selectCells(this.db, sql, values);
  }

  /** In the order of the ids that are given. */
  private judged(ids: readonly number[]): JudgedAttack[] {
    const values = { ids: JSON.stringify(ids) };
    const outcomes = new Map<number, JudgedOutcome[]>();
    for (const [id, judge, mean] of this.select(JUDGED, values)) {
      const outcome = { judge: judge as string, meanUnsafe: mean as number };
      outcomes.set(id as number, [...(outcomes.get(id as number) ?? []), outcome]);
    }
    const rows = this.select(`${attackColumns('mean_unsafe')} WHERE attack.id ${OF_IDS}`, values);
    const attacks = new Map(rows.map((row) => [row[0] as number, toPagedAttack(row, this.stages)]));
    return ids.flatMap((id) => {
      const attack = attacks.get(id);
      return attack === undefined ? [] : [{ ...attack, judges: outcomes.get(id) ?? [] }];
    });
  }

  attack(id: number): JudgedAttack | undefined {
    return this.judged([id])[0];
  }

  text(id: number): string | undefined {
    const [row] = this.select('SELECT text FROM attack WHERE id = ?', [id]);
    return row === undefined ? undefined : cellToText(row[0]);
  }

  async elsewhere(id: number, signal?: AbortSignal): Promise<Elsewhere> {
    const [[stage] = []] = this.select('SELECT stage_id FROM attack WHERE id = ?', [id]);
    const [[low, high] = []] = this.select('SELECT (SELECT min(id) FROM attack), (SELECT max(id) FROM attack)', []);
    if (typeof stage !== 'number' || typeof low !== 'number' || typeof high !== 'number')
      return { stages: [], isFull: true };
    const found = new Map<number, { count: number; readonly ids: number[] }>();
    const top = await descend({ low, top: high + 1, signal }, (from, before) => {
      for (const [row, other] of this.select(SAME, { id, stage, from, before })) {
        const those = found.get(other as number) ?? { count: 0, ids: [] };
        found.set(other as number, those);
        those.count++;
        if (those.ids.length < MOST_OF_STAGE) those.ids.push(row as number);
      }
      return { top: from };
    });
    const stages = [...found]
      .sort(([a], [b]) => a - b)
      .map(([other, { count, ids }]) => ({
        ...{ stage: this.stages.get(other) ?? '', count, attacks: this.judged(ids) },
      }));
    return { stages, isFull: top <= low };
  }

  successes(stage: string, judge: string): PagedAttack[] {
    const id = [...this.stages].find(([, name]) => name === stage)?.[0];
    if (id === undefined) return [];
    return this.select(SUCCESSES, { stage: id, judge }).map((row) => toPagedAttack(row, this.stages));
  }

  close(): void {
    this.db.close();
  }
}

/** @throws FloodgateError `store` as `openStore` does. */
export function openRelatedAttacks(path: string): RelatedAttacks {
  return new Reader(openForReading(path));
}
