import { monotonicMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { dotAt } from '../../base/flat-vectors.ts';
import { normalisedWords } from '../../judges/judged-words.ts';
import { isUnsafe } from '../../learning/reward/reward.ts';
import type { CauseAnswer, CauseQuestion } from '../../metrics/causes.ts';
import { type FoundCauses, findCauses } from '../../metrics/causes-search.ts';
import { type CauseWay, causeFigures, groupCauses, waysOfSuccesses } from '../../metrics/causes-ways.ts';
import { createEmbeddingMatrix, type EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { pointMeasure } from '../../metrics/measure.ts';
import { finishPausing } from '../../metrics/steps.ts';
import { successIndices } from '../../metrics/success.ts';
import { clusterAttacksInSteps } from '../../metrics/unique-attacks.ts';
import { countingJudge } from '../../runs/manifest.ts';
import { type AttackRow, attackRow, type MetricRecord } from '../../runs/store/records.ts';
import { causesStage, evaluationStage } from '../../runs/store/stage-name.ts';
import { type Evidence, meanUnsafeOf, type ResponseRecord, type SeatName, unsafeOf } from '../../trial/evidence.ts';
import { createLedger } from '../../trial/ledger.ts';
import { createTrial, type JudgeSeat } from '../../trial/trial.ts';
import { measuredMetric } from '../metric-records.ts';
import type { Campaign } from '../stage.ts';
import type { CausesPlan } from './causes-plan.ts';
import { type CausesRecord, recordCauses, type WayRecord } from './causes-record.ts';
import { causesWorldMetrics } from './causes-world.ts';
import { type EvaluationPlan, outcomeBy } from './evaluation-plan.ts';
import { dependenceOf } from './unseen-metrics.ts';

/** Ways expected after so many target calls: the discovery curve over causes. */
export const WAYS_DISCOVERY = 'waysExpected';

/** The judge whose figures count: the first that gave no reward, where there is one. */
function countingSeat({ evaluationJudges, trainingJudge }: Campaign): JudgeSeat {
  const evaluation = evaluationJudges.map(({ name }) => name);
  const counting = countingJudge({ training: trainingJudge.name, evaluation });
  const judge = evaluationJudges.find(({ name }) => name === counting) ?? trainingJudge;
  return { judge, masked: false, name: judge.name };
}

/** The evaluated attacks of a stage, as the search of causes reads them. */
interface CauseEvaluation {
  readonly texts: readonly string[];
  readonly successes: readonly number[];
  /** Of the successes alone, in their order. */
  readonly embeddings: EmbeddingMatrix;
}

/**
 * Looks for the causes of a stage's successes, after its evaluation, which it leaves as it is: parts of successful
 * attacks are put to the target, and the counting judge scores the answers. Every batch of questions is stored before
 * the next one is asked. A resume asks only what is not stored.
 */
export async function searchStageCauses(
  campaign: Campaign,
  stage: string,
  plans: { readonly causes: CausesPlan; readonly evaluation: EvaluationPlan },
): Promise<void> {
  const { store, io } = campaign;
  const name = causesStage(stage);
  const seat = countingSeat(campaign);
  const evaluation = await readSuccesses(campaign, stage, seat);
  const { texts, successes, embeddings } = evaluation;
  const place = new Map(successes.map((attack, i) => [attack, i]));
  const row = (attack: number): number => place.get(attack) as number;
  const { data, width } = embeddings;
  const similarity = (i: number, j: number): number => dotAt(data, row(i) * width, data, row(j) * width, width);
  const asking = createAsking(campaign, name, { seat, plans });
  store.beginStage(name, plans.causes.clusters * plans.causes.asks);
  const bar = io.progress.start(name, undefined, 'questions');
  try {
    const found = await findCauses(
      { texts, successes, similarity },
      { ...plans.causes, threshold: campaign.config.evaluation.uniqueThreshold },
      async (questions) => {
        const answers = await asking.ask(questions);
        bar.update(asking.asked());
        return answers;
      },
    );
    await finishCauses(campaign, { stage, seat, evaluation, found, batches: asking.batches() }, plans.evaluation);
  } finally {
    bar.finish();
  }
}

async function readSuccesses({ store, encoder }: Campaign, stage: string, seat: SeatName): Promise<CauseEvaluation> {
  const attacks = store.attacks({ stage: evaluationStage(stage) });
  const successes = successIndices(attacks.map(({ id }) => outcomeBy(store.responses(id), seat)));
  const texts = attacks.map(({ text }) => text);
  const embeddings = await embed(
    encoder,
    successes.map((attack) => texts[attack] as string),
  );
  return { texts, successes, embeddings };
}

async function embed(encoder: Campaign['encoder'], texts: readonly string[]): Promise<EmbeddingMatrix> {
  const flat = await encoder.embed(texts);
  return createEmbeddingMatrix(flat, texts.length, encoder.width);
}

interface Asking {
  ask(questions: readonly CauseQuestion[]): Promise<CauseAnswer[]>;
  /** Questions answered so far, those of earlier starts included. */
  asked(): number;
  /** Batches stored so far. */
  batches(): number;
}

/** Answers questions from the database where an earlier start has stored them, and asks the others in one batch. */
function createAsking(
  { store, io, config, evaluationTarget: target }: Campaign,
  name: string,
  {
    seat,
    plans,
  }: {
    readonly seat: JudgeSeat;
    readonly plans: { readonly causes: CausesPlan; readonly evaluation: EvaluationPlan };
  },
): Asking {
  const ledger = createLedger();
  const { responses } = plans.causes;
  const trial = createTrial({
    target,
    decode: config.target.decode,
    responses,
    seats: [seat],
    ledger,
    signal: io.signal,
  });
  const stored = storedAnswers(store, name);
  let batches = store.attacks({ stage: name }).reduce((last, { update }) => Math.max(last, update), -1) + 1;
  let asked = 0;
  const answerOf = ({ text, trial: each }: CauseQuestion) => stored.get(text)?.[each];
  return {
    asked: () => asked,
    batches: () => batches,
    ask: async (questions) => {
      const missing = questions.filter((question) => answerOf(question) === undefined);
      if (missing.length > 0) {
        if (io.signal.aborted) throw interrupted(name);
        const started = monotonicMs();
        const tried = await trial.try(
          missing.map(({ text, trial: each }) => ({
            attack: text,
            streamName: ['cause response', plans.evaluation.seed, text, each],
          })),
        );
        const attacks = missing.map(({ text }, i) => causeRow(text, tried[i] as Evidence, seat));
        const seconds = (monotonicMs() - started) / 1000;
        store.recordUpdate({ stage: name, update: batches, attacks, cost: { ...ledger.take(), seconds } });
        batches++;
        for (const { text, meanUnsafe } of attacks) addAnswer(stored, text, meanUnsafe ?? null);
      }
      asked += questions.length;
      return questions.map((question) => answerOf(question) ?? null);
    },
  };
}

function causeRow(text: string, evidence: Evidence, seat: SeatName): AttackRow {
  return { ...attackRow({ source: 'cause', text, evidence }, []), meanUnsafe: meanUnsafeOf(evidence, seat) };
}

function interrupted(name: string): FloodgateError {
  return new FloodgateError('interrupted', `${name}: interrupted, every answer is kept`, {
    hint: 'floodgate resume asks the rest',
  });
}

type StoredAnswers = Map<string, CauseAnswer[]>;

/** Answers by text; the k-th row of a text is its trial k. */
function storedAnswers(store: Campaign['store'], name: string): StoredAnswers {
  const answers: StoredAnswers = new Map();
  if (!store.stages().some((stage) => stage.name === name)) return answers;
  for (const { text, meanUnsafe } of store.attacks({ stage: name })) addAnswer(answers, text, meanUnsafe);
  return answers;
}

function addAnswer(answers: StoredAnswers, text: string, answer: CauseAnswer): void {
  const known = answers.get(text);
  if (known === undefined) answers.set(text, [answer]);
  else known.push(answer);
}

interface FinishedSearch {
  readonly stage: string;
  readonly seat: SeatName;
  readonly evaluation: CauseEvaluation;
  readonly found: FoundCauses;
  readonly batches: number;
}

/** Groups the causes into ways, measures them and stores all of it. */
async function finishCauses(campaign: Campaign, search: FinishedSearch, plan: EvaluationPlan): Promise<void> {
  const { store, encoder, world } = campaign;
  const { stage, seat, evaluation, found, batches } = search;
  const name = causesStage(stage);
  const causes = found.searches.map(({ result }) => (result.kind === 'cause' ? result.words : []));
  const used = causes.flatMap((words, i) => (words.length > 0 ? [i] : []));
  const { data, width } = await embed(
    encoder,
    used.map((i) => (causes[i] as readonly string[]).join(' ')),
  );
  const row = new Map(used.map((search_, i) => [search_, i * width]));
  const ways = groupCauses(found.searches, {
    cosine: (a, b) => dotAt(data, row.get(a) ?? 0, data, row.get(b) ?? 0, width),
  });
  const figures = causeFigures({ successes: evaluation.successes, attacks: evaluation.texts.length }, found, ways);
  const records = wayRecords(store, search, ways, await wordingsOf(campaign, search));
  recordCauses(store, stage, {
    judge: seat.name,
    successes: evaluation.successes.length,
    searched: found.searches.length,
    unstable: found.searches.length - used.length,
    unknown: found.heldBy.filter((holder) => holder === undefined).length,
    ways: records,
  });
  const reason = dependenceOf(campaign.stage(stage), plan.temperature);
  const unknown = pointMeasure(null, evaluation.successes.length, `not estimated: ${reason ?? ''}`);
  const measured = (metric: string, measure: typeof unknown): MetricRecord =>
    measuredMetric(metric, measure, seat.name);
  store.truncateAfter(name, batches - 1);
  store.recordUpdate({
    stage: name,
    update: batches,
    metrics: [
      measured('ways', figures.ways),
      measured('unstableShare', figures.unstable),
      measured('waysEcho', pointMeasure(records.filter(({ isEcho }) => isEcho).length, records.length, 'ways')),
      measured('waysMissingMass', reason === undefined ? figures.missingMass : unknown),
      measured('waysChao1', reason === undefined ? figures.chao1 : unknown),
      ...(world === undefined ? [] : await causesWorldMetrics(world, evaluation, causes)),
    ],
  });
  const callsPerAttack = store.cost(evaluationStage(stage)).targetCalls / Math.max(1, evaluation.texts.length);
  for (const [i, { attacks, clusters }] of (reason === undefined ? figures.curve : []).entries()) {
    const point = { ...measured(WAYS_DISCOVERY, clusters), n: Math.round(attacks * callsPerAttack) };
    store.recordUpdate({ stage: name, update: batches + 1 + i, metrics: [point] });
  }
  store.endStage(name, 'done');
}

/** The wording of each success, by number: the cluster that it is in. */
async function wordingsOf(
  { io, config }: Campaign,
  { stage, evaluation }: FinishedSearch,
): Promise<Map<number, number>> {
  const { data, rows, width } = evaluation.embeddings;
  const similarity = (i: number, j: number): number => dotAt(data, i * width, data, j * width, width);
  const steps = clusterAttacksInSteps(similarity, [...Array(rows).keys()], config.evaluation.uniqueThreshold);
  const clusters = await finishPausing(steps, io.signal, causesStage(stage));
  return new Map(clusters.flatMap(({ members }, wording) => members.map((member) => [member, wording] as const)));
}

/** The ways as a reader sees them, the one with the most successes first. */
function wayRecords(
  store: Campaign['store'],
  { stage, seat, evaluation, found }: FinishedSearch,
  ways: readonly CauseWay[],
  wordings: ReadonlyMap<number, number>,
): CausesRecord['ways'] {
  const responses = new Map(store.attacks({ stage: causesStage(stage) }).map(({ id, text }) => [text, id] as const));
  const wayOf = waysOfSuccesses(found.heldBy, ways);
  const records = ways.map(({ searches }, way): WayRecord => {
    const named = searches.reduce((best, each) => (lengthOf(found, each) < lengthOf(found, best) ? each : best));
    const { attack, result } = found.searches[named] as FoundCauses['searches'][number];
    const example = evaluation.texts[attack] as string;
    const words = result.kind === 'cause' ? result.words : [];
    const cause = words.join(' ');
    const asked = responses.get(cause) ?? responses.get(example);
    const causes = searches.flatMap((each) => causeOf(found, each) ?? []);
    const variants = [...new Set(causes)].filter((each) => each !== cause);
    return {
      cause,
      example,
      ...(variants.length === 0 ? {} : { variants }),
      isEcho: asked !== undefined && isEcho(words, store.responses(asked), seat),
      successes: wayOf.filter((each) => each === way).length,
      searches: searches.length,
      wordings: new Set(wayOf.flatMap((each, success) => (each === way ? [wordings.get(success)] : []))).size,
    };
  });
  return records.sort((a, b) => b.successes - a.successes);
}

function causeOf({ searches }: FoundCauses, search: number): string | undefined {
  const result = searches[search]?.result;
  return result?.kind === 'cause' ? result.words.join(' ') : undefined;
}

function lengthOf({ searches }: FoundCauses, search: number): number {
  const result = searches[search]?.result;
  return result?.kind === 'cause' ? result.words.length : Number.POSITIVE_INFINITY;
}

/** Whether at least half of the unsafe answers hold every word of the cause. */
function isEcho(words: readonly string[], responses: readonly ResponseRecord[], seat: SeatName): boolean {
  const wanted = normalisedWords(words.join(' '));
  const unsafe = responses.filter((response) => unsafeOf({ responses: [response] }, seat).some(isUnsafe));
  const echoes = unsafe.filter(({ text }) => {
    const said = new Set(normalisedWords(text));
    return wanted.length > 0 && wanted.every((word) => said.has(word));
  });
  return unsafe.length > 0 && 2 * echoes.length >= unsafe.length;
}
