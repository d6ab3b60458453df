import type Database from 'libsql';
import { append } from '../../base/long-lists.ts';
import type { AttackSource } from '../../learning/attack.ts';
import { SUCCESS_THRESHOLD } from '../../learning/reward/reward.ts';
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
  /** One attack with all its responses and verdicts; undefined where there is none of this id. */
  attack(id: number): { readonly attack: PagedAttack; readonly responses: readonly StoredResponse[] } | undefined;
  close(): void;
}

/** Rows that one statement may look at: some 20 ms, so that other requests are answered in between. */
const SLICE = 50_000;
/** A search reads every row: mapped, its pages are not copied first. Only address space, not memory. */
const MAX_MAPPED_BYTES = 2 ** 33;
/** A page is answered after this time, full or not. */
const MAX_SEARCH_MS = 800;

/** Mean over the scored responses, as `attackOutcome` computes it. */
const MEAN_BY_JUDGE = `(SELECT avg(unsafe) FROM response JOIN verdict ON response_id = response.id
  WHERE attack_id = attack.id AND judge = $judge AND masked = 0 AND unsafe BETWEEN 0 AND 1)`;

const OUTCOMES: Readonly<Record<OutcomeFilter, string>> = {
  success: `> ${SUCCESS_THRESHOLD}`,
  failure: `<= ${SUCCESS_THRESHOLD}`,
  unscored: 'IS NULL',
};

const columns = (mean: string): string => `SELECT attack.id, stage_id, update_index, source, text, ${mean}, log_reward,
  response_count FROM attack`;

/** `%`, `_` and the escape itself are letters of the text that is searched. */
const likePattern = (text: string): string => `%${text.replace(/[\\%_]/g, '\\$&')}%`;

/** The statement of one slice. `+` keeps SQLite at the row ids: another index would have to sort. */
function sliceStatement({ stage, source, outcome, judge, search }: AttackPageFilter): string {
  const mean = judge === undefined ? 'mean_unsafe' : MEAN_BY_JUDGE;
  const conditions = [
    'attack.id < $before AND attack.id >= $from',
    ...(stage === undefined ? [] : ['+stage_id = $stage']),
    ...(source === undefined ? [] : ['source = $source']),
    ...(search === undefined ? [] : ["text LIKE $search ESCAPE '\\'"]),
    ...(outcome === undefined ? [] : [`${mean} ${OUTCOMES[outcome]}`]),
  ];
  return `${columns(mean)} WHERE ${conditions.join(' AND ')} ORDER BY attack.id DESC LIMIT $limit`;
}

type Row = readonly unknown[];

function toAttack(row: Row, stages: ReadonlyMap<number, string>): PagedAttack {
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

  private select(sql: string, values: object): Row[] {
    return guardSqlite('read run database', () => this.db.prepare(sql).raw().all(values) as Row[]);
  }

  private stageNames(): Map<number, string> {
    return new Map(this.select('SELECT id, name FROM stage', []).map(([id, name]) => [id as number, name as string]));
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
    const names = this.stageNames();
    const stageId = [...names].find(([, name]) => name === filter.stage)?.[0];
    const span = filter.stage !== undefined && stageId === undefined ? undefined : this.span(stageId);
    if (span === undefined) return { attacks: [], next: null, isFull: true };
    const [low, high] = span;
    const sql = sliceStatement(filter);
    const given = {
      ...(stageId === undefined ? {} : { stage: stageId }),
      ...(filter.source === undefined ? {} : { source: filter.source }),
      ...(filter.judge === undefined ? {} : { judge: filter.judge }),
      ...(filter.search === undefined ? {} : { search: likePattern(filter.search) }),
    };
    const attacks: PagedAttack[] = [];
    const end = performance.now() + MAX_SEARCH_MS;
    let top = Math.min(before ?? Number.MAX_SAFE_INTEGER, high + 1);
    while (top > low && attacks.length < limit) {
      const from = Math.max(low, top - SLICE);
      const rows = this.select(sql, { ...given, before: top, from, limit: limit - attacks.length });
      append(
        attacks,
        rows.map((row) => toAttack(row, names)),
      );
      top = attacks.length < limit ? from : (attacks.at(-1)?.id ?? from);
      if (performance.now() > end || signal?.aborted) break;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { attacks, next: top > low ? top : null, isFull: attacks.length === limit || top <= low };
  }

  attack(id: number) {
    const [row] = this.select(`${columns('mean_unsafe')} WHERE attack.id = $id`, { id });
    if (row === undefined) return undefined;
    const responses = this.select(RESPONSES, [id]);
    return { attack: toAttack(row, this.stageNames()), responses: rowsToResponses(responses) };
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
