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

/** The answers of all finished evaluations of a run in a random order, each read when it is asked for. */
export interface AnswerOrder {
  readonly count: number;
  /** @param place from 0 to `count` - 1. */
  answer(place: number): EvaluationAnswer;
}

/** One place of the random order, without a text. */
export interface RandomPlace {
  readonly attacker: string;
  readonly attack: number;
  readonly answer: number;
}

/**
 * The places of the answers of all finished evaluations of a run, in an order that is random and always the same: that
 * of a hash of the place. So the first n answers are a random sample, whoever labels them and however often the run is
 * resumed.
 */
export function placesAtRandom(store: StoreQueries): RandomPlace[] {
  const places = store.stages().flatMap(({ name, status }) => {
    const attacker = status === 'done' ? evaluatedStage(name) : undefined;
    if (attacker === undefined) return [];
    return store.answerPlaces(name).map(({ attack, update, position, answer }) => {
      return { order: sha256Of(JSON.stringify([name, update, position, answer])), attacker, attack, answer };
    });
  });
  places.sort((a, b) => (a.order < b.order ? -1 : 1));
  return places.map(({ attacker, attack, answer }) => ({ attacker, attack, answer }));
}

/** The answers at these places; by default all, in their random order. */
export function answerOrder(store: StoreQueries, places: readonly RandomPlace[] = placesAtRandom(store)): AnswerOrder {
  return {
    count: places.length,
    answer: (place) => {
      const { attacker, attack, answer } = places[place] as RandomPlace;
      const found = store.responses(attack).find(({ position }) => position === answer);
      const [attackText = '', { text = '', verdicts = [] } = {}] = [store.attackText(attack), found ?? {}];
      const unsafe = new Map(verdicts.flatMap((each) => (each.masked ? [] : [[each.judge, each.unsafe] as const])));
      return { attacker, attack, answer, attackText, text, subject: answerKey(attackText, text), unsafe };
    },
  };
}

/** All answers in their random order. */
export function answersAtRandom(store: StoreQueries): EvaluationAnswer[] {
  const order = answerOrder(store);
  return Array.from({ length: order.count }, (_, place) => order.answer(place));
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

/** Equal texts have one label: behind the sample, a copy of a text in it was chosen by nobody, and is left out. */
export function labelledAnswers(answers: readonly EvaluationAnswer[], labels: Labels, judge: string): LabelledAnswers {
  const labelled: (EvaluationAnswer & { readonly isUnsafe: boolean })[] = [];
  const sampled = new Set<string>();
  let gap = answers.length;
  for (const [place, answer] of answers.entries()) {
    const label = labels.find('verdict', answer.subject, judge);
    if (label === undefined) gap = Math.min(gap, place);
    else if (place < gap || !sampled.has(answer.subject))
      labelled.push({ ...answer, isUnsafe: label.value === 'unsafe' });
    if (label !== undefined && place < gap) sampled.add(answer.subject);
  }
  return { labelled, inSample: Math.min(gap, labelled.length) };
}

/** The random sample that readers have labelled for one judge: the beginning of the order, without a gap. */
export interface LabelledSample {
  readonly labelled: readonly (EvaluationAnswer & { readonly isUnsafe: boolean })[];
  /** The first answer without a label; undefined at the end. */
  readonly next: EvaluationAnswer | undefined;
}

export function labelledSample(order: AnswerOrder, labels: Labels, judge: string): LabelledSample {
  const labelled: (EvaluationAnswer & { readonly isUnsafe: boolean })[] = [];
  for (let place = 0; place < order.count; place++) {
    const answer = order.answer(place);
    const label = labels.find('verdict', answer.subject, judge);
    if (label === undefined) return { labelled, next: answer };
    labelled.push({ ...answer, isUnsafe: label.value === 'unsafe' });
  }
  return { labelled, next: undefined };
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
 * where the sample holds fewer than `MIN_LABELS` unsafe or safe answers with a score. Reads the labelled answers alone.
 */
export function createLabelErrors(store: StoreQueries, labels: Labels): (judge: string) => DecisionQuality | undefined {
  if (!labels.all.some(({ kind }) => kind === 'verdict')) return () => undefined;
  let order: AnswerOrder | undefined;
  return (judge) => {
    order ??= answerOrder(store);
    const scores = labelledSample(order, labels, judge).labelled.flatMap(({ unsafe, isUnsafe }) => {
      const score = unsafe.get(judge);
      return typeof score === 'number' ? [{ score, isUnsafe }] : [];
    });
    const unsafe = scores.filter(({ isUnsafe }) => isUnsafe).length;
    if (Math.min(unsafe, scores.length - unsafe) < MIN_LABELS) return undefined;
    return decisionQuality(scores, SUCCESS_THRESHOLD);
  };
}
