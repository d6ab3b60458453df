import type { AttackSource } from '../../learning/attack.ts';
import { SUCCESS_THRESHOLD } from '../../learning/reward/reward.ts';

/** Attacks by their outcome: `unscored` where no response could be scored. */
export type OutcomeFilter = 'success' | 'failure' | 'unscored';

export interface AttackPageFilter {
  readonly stage?: string;
  readonly source?: AttackSource;
  /** Name of the cell whose prompt an attack continued. */
  readonly cell?: string;
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

/** More words would cost more than they spare. */
const MAX_HELD_WORDS = 64;
/** Mean over the scored responses, as `attackOutcome` computes it. */
export const MEAN_BY_JUDGE = `(SELECT avg(unsafe) FROM response JOIN verdict ON response_id = response.id
  WHERE attack_id = attack.id AND judge = $judge AND masked = 0 AND unsafe BETWEEN 0 AND 1)`;

/** Verdicts on answers as they are, with a note about what is unsafe. */
const NOTED = `masked = 0 AND unsafe > ${SUCCESS_THRESHOLD} AND typeof(reason) = 'text'`;
export const notedBy = (judge: string | undefined): string =>
  judge === undefined ? NOTED : `${NOTED} AND judge = $judge`;
/** The answers to a slice of attacks lie side by side: verdicts are read in their own order, not answer by answer. */
export const ANSWERS_OF_SLICE =
  'SELECT min(id), max(id) FROM response WHERE attack_id >= $from AND attack_id < $before';
export const VERDICTS_ALONE = 'FROM verdict WHERE response_id BETWEEN $low AND $high';
export const VERDICTS_OF_SLICE =
  'FROM verdict JOIN response ON response.id = response_id WHERE response_id BETWEEN $low AND $high';

/** The attacks of a slice that a judge scored, each with its mean. */
const SCORED = `SELECT attack_id, avg(unsafe) AS mean FROM response JOIN verdict ON response_id = response.id
  WHERE attack_id >= $from AND attack_id < $before AND judge = $judge AND masked = 0 AND unsafe BETWEEN 0 AND 1
  GROUP BY attack_id`;
/** A judge scored every answer of a slice, and each attack has one, where both pairs are equal: counted without a join. */
export const SCORED_COUNTS = `SELECT (SELECT count(*) FROM attack WHERE id >= $from AND id < $before),
  (SELECT count(*) FROM response WHERE attack_id >= $from AND attack_id < $before AND position = 0),
  (SELECT count(*) FROM response WHERE attack_id >= $from AND attack_id < $before),
  (SELECT count(*) FROM verdict WHERE response_id BETWEEN $low AND $high AND judge = $judge AND masked = 0
    AND unsafe BETWEEN 0 AND 1)`;
/** One row where a judge left an attack of a slice without a score. */
export const HAS_UNSCORED = `SELECT 1 WHERE (SELECT count(*) FROM attack WHERE id >= $from AND id < $before) >
  (SELECT count(*) FROM (${SCORED}))`;

const OUTCOMES: Readonly<Record<OutcomeFilter, string>> = {
  success: `> ${SUCCESS_THRESHOLD}`,
  failure: `<= ${SUCCESS_THRESHOLD}`,
  unscored: 'IS NULL',
};

/** The columns of `toPagedAttack`, of the attacks or of a join `from` with them. */
export const attackColumns = (mean: string, from = ''): string =>
  `SELECT attack.id, stage_id, update_index, source, text, ${mean}, log_reward, response_count, cell FROM ${from} attack`;

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

export function textValues({ search, texts, holds }: AttackPageFilter): Record<string, string> {
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

/** Where the mean of an attack comes from, and the condition on it. */
interface Outcome {
  readonly mean: string;
  /** In front of the attacks, so that SQLite takes them in its order. */
  readonly from: string;
  readonly conditions: readonly string[];
}

/** Attack by attack where there are few; else all scored attacks of a slice by one statement, which takes half the time. */
function outcomeOf({ outcome, judge }: AttackPageFilter, areFew: boolean): Outcome {
  const mean = judge === undefined ? 'mean_unsafe' : MEAN_BY_JUDGE;
  if (outcome === undefined) return { mean, from: '', conditions: [] };
  if (judge === undefined || areFew || outcome === 'unscored')
    return { mean, from: '', conditions: [`${mean} ${OUTCOMES[outcome]}`] };
  const scored = `(${SCORED} HAVING mean ${OUTCOMES[outcome]}) AS scored CROSS JOIN`;
  return { mean: 'scored.mean', from: scored, conditions: ['attack.id = scored.attack_id'] };
}

/** The statement of one slice. `+` keeps SQLite at the row ids: another index would have to sort. */
export function sliceStatement(filter: AttackPageFilter): string {
  const { stage, source, cell, noted } = filter;
  const { mean, from, conditions: ofOutcome } = outcomeOf(filter, noted !== undefined);
  const conditions = [
    'attack.id < $before AND attack.id >= $from',
    ...(noted === undefined ? [] : ['attack.id IN (SELECT value FROM json_each($ids))']),
    ...(stage === undefined ? [] : ['+stage_id = $stage']),
    ...(source === undefined ? [] : ['source = $source']),
    ...(cell === undefined ? [] : ['cell = $cell']),
    ...textConditions(filter),
    ...ofOutcome,
  ];
  return `${attackColumns(mean, from)} WHERE ${conditions.join(' AND ')} ORDER BY attack.id DESC LIMIT $limit`;
}
