import { canonicalJson, sha256Of } from '../../base/canonical-json.ts';
import { SUCCESS_THRESHOLD } from '../../learning/reward/reward.ts';
import { type DecisionQuality, decisionQuality } from '../../metrics/judge-calibration.ts';
import { answerKey, type Labels } from '../../runs/store/labels.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import { evaluatedStage } from '../../runs/store/stage-name.ts';
import type { LabelledExample, LabelledFile } from './labelled-examples.ts';

/** One answer of an evaluation. A refusal of the provider is read by no judge, and is none. */
export interface EvaluationAnswer {
  readonly attacker: string;
  /** Row of the attack in the run's database. */
  readonly attack: number;
  /** Place among the answers to that attack, from 0. */
  readonly answer: number;
  readonly attackText: string;
  readonly text: string;
  /** `answerKey` of the two texts. */
  readonly subject: string;
  /** P(unsafe) by judge, on the answer as it is; null where it could not score. */
  readonly unsafe: ReadonlyMap<string, number | null>;
}

/**
 * The answers of all finished evaluations of a run, in an order that is random and always the same: that of a hash of
 * their places. So the first n answers are a random sample, whoever labels them and however often the run is resumed.
 */
export function answersAtRandom(store: StoreQueries): EvaluationAnswer[] {
  const found: { readonly order: string; readonly answer: EvaluationAnswer }[] = [];
  for (const { name, status } of store.stages()) {
    const attacker = status === 'done' ? evaluatedStage(name) : undefined;
    if (attacker === undefined) continue;
    for (const { id, text: attackText, update, position } of store.attacks({ stage: name, source: 'evaluation' })) {
      for (const { position: answer, text, refused, verdicts } of store.responses(id)) {
        if (refused !== undefined) continue;
        const unsafe = new Map(verdicts.flatMap((each) => (each.masked ? [] : [[each.judge, each.unsafe] as const])));
        const subject = answerKey(attackText, text);
        const order = sha256Of(JSON.stringify([name, update, position, answer]));
        found.push({ order, answer: { attacker, attack: id, answer, attackText, text, subject, unsafe } });
      }
    }
  }
  return found.sort((a, b) => (a.order < b.order ? -1 : 1)).map(({ answer }) => answer);
}

/** The answers that readers have labelled for one judge. */
export interface LabelledAnswers {
  readonly labelled: readonly (EvaluationAnswer & { readonly isUnsafe: boolean })[];
  /**
   * The first so many of `labelled` are the beginning of the random order, without a gap: a random sample. The others
   * were chosen by the reader, and their errors are not those of the judge on the run.
   */
  readonly inSample: number;
}

export function labelledAnswers(answers: readonly EvaluationAnswer[], labels: Labels, judge: string): LabelledAnswers {
  const labelled: (EvaluationAnswer & { readonly isUnsafe: boolean })[] = [];
  let gap = answers.length;
  for (const [place, answer] of answers.entries()) {
    const label = labels.find('verdict', answer.subject, judge);
    if (label === undefined) gap = Math.min(gap, place);
    else labelled.push({ ...answer, isUnsafe: label.value === 'unsafe' });
  }
  return { labelled, inSample: Math.min(gap, labelled.length) };
}

/** Labels of a run as a file of labelled examples holds them, with the scores that its judge gave. */
export function asExamples({ labelled }: LabelledAnswers, run: string, judge: string): LabelledFile {
  const examples = labelled.map(
    ({ attackText, text, unsafe, isUnsafe }, i): LabelledExample => ({
      ...{ row: i + 1, isUnsafe, attack: attackText, response: text, score: unsafe.get(judge) ?? undefined },
    }),
  );
  const facts = labelled.map(({ subject, isUnsafe }) => [subject, isUnsafe]);
  return {
    ...{ path: `labels of ${run}`, sha256: sha256Of(canonicalJson(facts)), examples },
    ...{ unlabelled: 0, hasTexts: true, hasScores: true },
  };
}

/** Fewer labels of either kind say too little to correct a report by themselves. */
export const MIN_LABELS = 10;

/**
 * Returns the errors of a judge on the random sample that readers have labelled, at the threshold of a run; undefined
 * where the sample holds fewer than `MIN_LABELS` unsafe or safe answers with a score. Reads the answers once.
 */
export function createLabelErrors(store: StoreQueries, labels: Labels): (judge: string) => DecisionQuality | undefined {
  if (!labels.all.some(({ kind }) => kind === 'verdict')) return () => undefined;
  let answers: readonly EvaluationAnswer[] | undefined;
  return (judge) => {
    answers ??= answersAtRandom(store);
    const { labelled, inSample } = labelledAnswers(answers, labels, judge);
    const scores = labelled.slice(0, inSample).flatMap(({ unsafe, isUnsafe }) => {
      const score = unsafe.get(judge);
      return typeof score === 'number' ? [{ score, isUnsafe }] : [];
    });
    const unsafe = scores.filter(({ isUnsafe }) => isUnsafe).length;
    if (Math.min(unsafe, scores.length - unsafe) < MIN_LABELS) return undefined;
    return decisionQuality(scores, SUCCESS_THRESHOLD);
  };
}
