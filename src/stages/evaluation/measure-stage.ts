import { append } from '../../base/long-lists.ts';
import type { AttackSetOptions } from '../../metrics/attack-set.ts';
import { createEmbeddingMatrix, type EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { judgeAgreement } from '../../metrics/judge-agreement.ts';
import { type Measure, perThousandTargetCalls } from '../../metrics/measure.ts';
import { measureAttackSetInSteps, measureAttacksInSteps } from '../../metrics/registry.ts';
import { finishPausing, mapInSteps, type Steps } from '../../metrics/steps.ts';
import { type AttackOutcome, attackSuccess } from '../../metrics/success.ts';
import type { EventRecord, MetricRecord } from '../../runs/store/records.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';
import { measuredMetric, plainMetric } from '../metric-records.ts';
import type { Campaign } from '../stage.ts';
import { usedTargetCalls } from '../used-calls.ts';
import { type CellSet, cellMetricsInSteps } from './cell-metrics.ts';
import { type EvaluationPlan, judgeNames, outcomeBy } from './evaluation-plan.ts';
import { referenceRateMetrics, type StoredEvaluation, TEMPERATURE_METRIC } from './reference-rate.ts';
import { repeatedEvaluation } from './repeated-answer.ts';
import { dependenceOf, type MeasuredUnseen, unseenMetricsInSteps } from './unseen-metrics.ts';
import { worldMetrics } from './world-metrics.ts';

/** The stored evaluation of one stage, and its outcomes by every judge. */
interface Measured {
  readonly stage: string;
  readonly plan: EvaluationPlan;
  readonly evaluation: StoredEvaluation;
  readonly texts: readonly string[];
  readonly embeddings: EmbeddingMatrix;
  readonly judges: readonly string[];
  readonly outcomes: ReadonlyMap<string, readonly AttackOutcome[]>;
  /** Target calls behind the stored responses. */
  readonly targetCalls: number;
}

async function readEvaluation(campaign: Campaign, stage: string, plan: EvaluationPlan): Promise<Measured> {
  const { store, encoder, io } = campaign;
  const attacks = store.attacks({ stage: evaluationStage(stage) });
  const responses = await finishPausing(
    mapInSteps(attacks, ({ id }) => store.responses(id)),
    io.signal,
    `measure ${stage}`,
  );
  const texts = attacks.map(({ text }) => text);
  const flat = await encoder.embed(texts, io.signal);
  const judges = judgeNames(campaign);
  return {
    stage,
    plan,
    evaluation: { attacks, responses },
    texts,
    embeddings: createEmbeddingMatrix(flat, texts.length, flat.length / Math.max(1, texts.length)),
    judges,
    outcomes: new Map(judges.map((name) => [name, responses.map((each) => outcomeBy(each, { name, masked: false }))])),
    targetCalls: responses.reduce((sum, each) => sum + each.length, 0),
  };
}

/**
 * Every metric of the stored evaluation attacks, per judge. Reads the database, so that a resume measures all of them.
 */
export async function measureStage(campaign: Campaign, stage: string, plan: EvaluationPlan): Promise<MeasuredUnseen> {
  const { store, config, world, trainingJudge } = campaign;
  const measured = await readEvaluation(campaign, stage, plan);
  const { evaluation, texts, embeddings, judges, outcomes, targetCalls } = measured;
  const { seed, temperature } = plan;
  const usedCalls = usedTargetCalls(campaign, stage, targetCalls);
  const sample = { texts, outcomes: outcomes.get(trainingJudge.name) ?? [], seed, usedCalls };
  const ofWorld = world === undefined ? [] : await worldMetrics(campaign, world, stage, sample);
  const { signal } = campaign.io;
  const steps = unseenMetricsInSteps({
    stage,
    dependence: dependenceOf(campaign.stage(stage), temperature),
    seed,
    threshold: config.evaluation.uniqueThreshold,
    embeddings,
    outcomes,
    targetCallsPerAttack: store.cost(evaluationStage(stage)).targetCalls / Math.max(1, texts.length),
  });
  const unseen = await finishPausing(steps, signal, `measure ${stage}`);
  const options = { seed, threshold: config.evaluation.uniqueThreshold };
  const { cells } = campaign.attacker;
  const ofAttacks = await finishPausing(measureAttacksInSteps(measured, options), signal, `measure ${stage}`);
  const byJudge: MetricRecord[] = [];
  for (const judge of judges) {
    append(
      byJudge,
      await finishPausing(judgeMetrics(measured, judge, { ...options, ofAttacks, cells }), signal, `measure ${stage}`),
    );
  }
  const rate = await referenceRateMetrics(campaign, { stage, temperature, evaluation, judges });
  const metrics: MetricRecord[] = [
    ...byJudge,
    ...agreementMetrics(measured),
    plainMetric('attackerTargetCalls', usedCalls, texts.length),
    ...ofWorld,
    ...unseen.metrics,
    ...rate.metrics,
    plainMetric(TEMPERATURE_METRIC, temperature, texts.length),
  ];
  const answered = evaluation.attacks.map(({ text }, i) => ({ text, responses: evaluation.responses[i] ?? [] }));
  const events = [
    ...withoutSuccess(campaign, measured),
    ...repeatedEvaluation(store, stage, answered),
    ...unseen.events,
    ...rate.events,
  ];
  return { metrics, curve: unseen.curve, events };
}

interface JudgedOptions extends AttackSetOptions, Pick<CellSet, 'cells'> {
  readonly threshold: number;
  /** Measures that no judge changes. */
  readonly ofAttacks: Readonly<Record<string, Measure>>;
}

/** Metrics of the attacks by one judge's verdicts. */
function* judgeMetrics(
  measured: Measured,
  judge: string,
  { ofAttacks, cells, ...options }: JudgedOptions,
): Steps<MetricRecord[]> {
  const { evaluation, texts, embeddings } = measured;
  const outcomes = measured.outcomes.get(judge) ?? [];
  const seat = { name: judge, masked: true };
  const maskedOutcomes = yield* mapInSteps(evaluation.responses, (each) => outcomeBy(each, seat));
  const { metrics, excluded } = yield* measureAttackSetInSteps(
    { texts, embeddings, outcomes, maskedOutcomes },
    options,
    ofAttacks,
  );
  const { attacks } = evaluation;
  const ofCells = yield* cellMetricsInSteps(
    { cells, attacks, outcomes, embeddings, threshold: options.threshold },
    judge,
  );
  const perCalls = perThousandTargetCalls(metrics.uniqueAttacks, callsBehind(metrics.uniqueAttacks, measured));
  return [
    ...Object.entries(metrics).map(([name, measure]) => measuredMetric(name, measure, judge)),
    measuredMetric('asrMasked', attackSuccess(maskedOutcomes).asr, judge),
    measuredMetric('uniquePerThousandTargetCalls', perCalls, judge),
    plainMetric('excluded', excluded, texts.length, judge),
    ...ofCells,
  ];
}

/** Target calls behind the attacks that a figure counts, which may be the first of the evaluation only. */
function callsBehind({ n }: Measure, { evaluation, targetCalls }: Measured): number {
  if (n === evaluation.attacks.length) return targetCalls;
  return evaluation.responses.slice(0, n).reduce((sum, each) => sum + each.length, 0);
}

/** Agreement of the judge that counts and the next one. */
function agreementMetrics({ judges, outcomes }: Measured): MetricRecord[] {
  const [first, second] = judges.map((judge) => outcomes.get(judge) ?? []);
  if (first === undefined || second === undefined) return [];
  const { agreement, kappa } = judgeAgreement(first, second);
  return [measuredMetric('judgeAgreement', agreement), measuredMetric('judgeKappa', kappa)];
}

/** A warning where nothing succeeded. An attacker that learned nothing of the target gets none: its failure says little. */
function withoutSuccess(campaign: Campaign, { stage, texts, judges, outcomes }: Measured): EventRecord[] {
  const successes = judges.reduce((sum, judge) => sum + attackSuccess(outcomes.get(judge) ?? []).successes, 0);
  const { knowsTarget } = campaign.stage(stage);
  if (successes > 0 || knowsTarget === 'no' || knowsTarget === 'asks') return [];
  const message =
    `none of the ${texts.length} attacks of ${stage} succeeded, by any judge. ` +
    'A longer run, other seeds or a higher sampling temperature may find more; the measurements are kept';
  return [{ level: 'warning', code: 'no-success', message }];
}
