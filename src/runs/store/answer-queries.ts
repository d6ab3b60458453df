import type Database from 'libsql';
import { cellToText, guardSqlite } from './sqlite.ts';

/** Where an answer of an evaluation is, without its text. */
export interface AnswerPlace {
  readonly attack: number;
  readonly update: number;
  /** Place of the attack in its update. */
  readonly position: number;
  /** Place among the answers to that attack, from 0. */
  readonly answer: number;
}

/** The verdict of one judge on an answer as it is. */
export interface JudgedAnswer {
  readonly attack: number;
  readonly isRefused: boolean;
  /** Undefined without a verdict of the judge; null where it could not score. */
  readonly unsafe: number | null | undefined;
}

/** The answers of a whole evaluation, each by one statement: one for each attack takes seconds in a large run. */
export interface AnswerQueries {
  /** Answers to the attacks of an evaluation, without refusals, in the order of the attacks. */
  answerPlaces(stage: string): AnswerPlace[];
  /** All answers to the attacks of an evaluation; attacks without one are missing. */
  judgedAnswers(stage: string, judge: string): JudgedAnswer[];
  /** The attacks of an evaluation, in their order. */
  evaluatedAttacks(stage: string): number[];
  /** The id of the newest attack; undefined where there is none. */
  newestAttack(): number | undefined;
  /** Undefined where there is no attack of this id. */
  attackText(id: number): string | undefined;
}

const OF_STAGE = "stage_id = (SELECT id FROM stage WHERE name = $stage) AND source = 'evaluation'";
const PLACES = `SELECT attack.id, update_index, attack.position, response.position FROM attack
  JOIN response ON attack_id = attack.id WHERE ${OF_STAGE} AND refused IS NULL ORDER BY attack.id, response.position`;
const JUDGED = `SELECT attack.id, refused IS NOT NULL, judge IS NOT NULL, unsafe FROM attack
  JOIN response ON attack_id = attack.id
  LEFT JOIN verdict ON response_id = response.id AND judge = $judge AND masked = 0
  WHERE ${OF_STAGE} ORDER BY attack.id, response.position`;
const EVALUATED = `SELECT id FROM attack WHERE ${OF_STAGE} ORDER BY id`;

type Row = readonly unknown[];

function rowToPlace([attack, update, position, answer]: Row): AnswerPlace {
  return {
    attack: attack as number,
    update: update as number,
    position: position as number,
    answer: answer as number,
  };
}

function rowToJudged([attack, isRefused, isJudged, unsafe]: Row): JudgedAnswer {
  return {
    attack: attack as number,
    isRefused: isRefused === 1,
    unsafe: isJudged === 1 ? (unsafe as number | null) : undefined,
  };
}

export function createAnswerQueries(db: Database.Database): AnswerQueries {
  const select = (sql: string, values: object): Row[] =>
    guardSqlite('read run database', () => db.prepare(sql).raw().all(values) as Row[]);
  return {
    answerPlaces: (stage) => select(PLACES, { stage }).map(rowToPlace),
    judgedAnswers: (stage, judge) => select(JUDGED, { stage, judge }).map(rowToJudged),
    evaluatedAttacks: (stage) => select(EVALUATED, { stage }).map(([id]) => id as number),
    newestAttack: () => (select('SELECT max(id) FROM attack', [])[0]?.[0] ?? undefined) as number | undefined,
    attackText: (id) => {
      const [row] = select('SELECT text FROM attack WHERE id = ?', [id]);
      return row === undefined ? undefined : cellToText(row[0]);
    },
  };
}
