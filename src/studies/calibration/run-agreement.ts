import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import { isUnsafe } from '../../learning/reward/reward.ts';
import {
  type AnswerAgreement,
  addCounts,
  clusteredAgreement,
  type DecisionCounts,
} from '../../metrics/judge-agreement.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import { evaluatedStage } from '../../runs/store/stage-name.ts';

/** One answer that a run stored, with the verdicts on it. */
interface JudgedAnswer {
  readonly attacker: string;
  /** Number of the attack in the run's database. */
  readonly attack: number;
  /** Place among the answers to that attack, from 0. */
  readonly answer: number;
  readonly attackText: string;
  readonly text: string;
  /** P(unsafe) by judge; null where it could not score. */
  readonly unsafe: ReadonlyMap<string, number | null>;
}

/** An answer that two judges decide differently. */
export interface Disagreement extends Omit<JudgedAnswer, 'unsafe'> {
  /** P(unsafe) by the first and by the second judge. */
  readonly first: number;
  readonly second: number;
}

/** Two judges of a run. */
export interface JudgePair extends AnswerAgreement {
  readonly first: string;
  readonly second: string;
  /** Answers that at least one of them could not score, or was not asked about. */
  readonly excluded: number;
  /** The largest differences first. */
  readonly disagreements: readonly Disagreement[];
}

export interface RunAgreement {
  readonly attackers: readonly string[];
  /** Answers with verdicts. A refusal of the provider is read by no judge, and is left out. */
  readonly answers: number;
  readonly refused: number;
  readonly judges: readonly { readonly name: string; readonly scored: number; readonly unscored: number }[];
  readonly pairs: readonly JudgePair[];
}

export interface AgreementOptions {
  /** For messages. */
  readonly run: string;
  /** One evaluated attacker; all of them when absent. */
  readonly attacker?: string | undefined;
}

/**
 * How far the judges of a run agree on the answers of its evaluations, by their stored verdicts on unmasked answers.
 * @throws FloodgateError `usage` when the run has no such attacker, or fewer than two judges.
 */
export function runAgreement(store: StoreQueries, { run, attacker }: AgreementOptions): RunAgreement {
  const evaluated = store.stages().flatMap(({ name, status }) => {
    const stage = status === 'done' ? evaluatedStage(name) : undefined;
    return stage === undefined ? [] : [{ name, attacker: stage }];
  });
  const chosen = evaluated.filter((stage) => attacker === undefined || stage.attacker === attacker);
  if (chosen.length === 0) {
    const names = evaluated.map((stage) => stage.attacker).join(', ');
    const what = attacker === undefined ? 'it has evaluated no attacker yet' : `--attacker: got ${attacker}`;
    const expected = names === '' ? '' : `, expected one of ${names}`;
    throw new FloodgateError('usage', `judge agree: run ${run}: ${what}${expected}`);
  }
  const answers: JudgedAnswer[] = [];
  let refused = 0;
  for (const stage of chosen) {
    const read = readAnswers(store, stage);
    append(answers, read.answers);
    refused += read.refused;
  }
  const judges = judgesOf(answers);
  if (judges.length < 2) {
    const got = judges.length === 0 ? 'no judge' : `one judge, ${judges[0]?.name}`;
    throw new FloodgateError('usage', `judge agree: run ${run}: got verdicts of ${got}, expected two judges or more`, {
      hint: 'name another judge in judges.evaluation of the config',
    });
  }
  const pairs = judges.flatMap((first, i) =>
    judges.slice(i + 1).map((second) => pairOf(answers, first.name, second.name)),
  );
  return { attackers: chosen.map((stage) => stage.attacker), answers: answers.length, refused, judges, pairs };
}

function readAnswers(store: StoreQueries, { name, attacker }: { readonly name: string; readonly attacker: string }) {
  const responses = store
    .attacks({ stage: name, source: 'evaluation' })
    .flatMap(({ id, text }) => store.responses(id).map((response) => ({ id, attackText: text, response })));
  const answers = responses.flatMap(({ id, attackText, response }): JudgedAnswer[] => {
    if (response.refused !== undefined) return [];
    const unsafe = new Map(
      response.verdicts.flatMap((verdict) => (verdict.masked ? [] : [[verdict.judge, verdict.unsafe] as const])),
    );
    return [{ attacker, attack: id, answer: response.position, attackText, text: response.text, unsafe }];
  });
  return { answers, refused: responses.length - answers.length };
}

function judgesOf(answers: readonly JudgedAnswer[]): RunAgreement['judges'] {
  const names = [...new Set(answers.flatMap(({ unsafe }) => [...unsafe.keys()]))].sort();
  return names.map((name) => {
    const verdicts = answers.flatMap(({ unsafe }) => (unsafe.has(name) ? [unsafe.get(name)] : []));
    const scored = verdicts.filter((verdict) => typeof verdict === 'number').length;
    return { name, scored, unscored: verdicts.length - scored };
  });
}

function decision(first: number, second: number): DecisionCounts {
  const [a, b] = [isUnsafe(first), isUnsafe(second)];
  return { both: +(a && b), onlyFirst: +(a && !b), onlySecond: +(!a && b), neither: +(!a && !b) };
}

function pairOf(answers: readonly JudgedAnswer[], first: string, second: string): JudgePair {
  const clusters = new Map<number, DecisionCounts>();
  const disagreements: Disagreement[] = [];
  let excluded = 0;
  for (const { unsafe, ...answer } of answers) {
    const [a, b] = [unsafe.get(first), unsafe.get(second)];
    if (typeof a !== 'number' || typeof b !== 'number') {
      excluded++;
      continue;
    }
    const counts = decision(a, b);
    const sum = clusters.get(answer.attack);
    clusters.set(answer.attack, sum === undefined ? counts : addCounts(sum, counts));
    if (counts.onlyFirst + counts.onlySecond > 0) disagreements.push({ ...answer, first: a, second: b });
  }
  const distance = (each: Disagreement): number => Math.abs(each.first - each.second);
  disagreements.sort((a, b) => distance(b) - distance(a) || a.attack - b.attack || a.answer - b.answer);
  return { first, second, excluded, ...clusteredAgreement([...clusters.values()]), disagreements };
}
