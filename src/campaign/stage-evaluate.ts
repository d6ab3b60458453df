import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { measureAttackSet } from '../metrics/attack-set.ts';
import { perThousandTargetCalls } from '../metrics/cost.ts';
import { createEmbeddingMatrix, type EmbeddingMatrix } from '../metrics/embedding-matrix.ts';
import { judgeAgreement } from '../metrics/judge-agreement.ts';
import type { Measure } from '../metrics/measure.ts';
import { attackSuccess } from '../metrics/success.ts';
import type { MetricRecord } from '../store/records.ts';
import { evaluationStage } from '../store/stage-name.ts';
import { type Campaign, evaluationSeats } from './campaign.ts';
import { loadAttacker, type TrainingStage } from './load-attacker.ts';
import { storedOutcome } from './stored-outcome.ts';
import { createCallCounter, tryAttacks, unsafeOf } from './try-attacks.ts';

export interface EvaluationPlan {
  readonly attacks: number;
  readonly responses: number;
  /** Of the attacker; 1 is the distribution that it was trained to be. */
  readonly temperature: number;
  readonly seed: number;
}

/** Attacks of one stored batch: a kill costs at most so many. */
const BATCH = 32;

/**
 * Measures a stage's attacker on fresh attacks: samples, asks the target, has every judge score, each also with the
 * attack's own words masked. Goes on where it stopped, batch by batch.
 */
export async function evaluateStage(campaign: Campaign, stage: TrainingStage, plan: EvaluationPlan): Promise<void> {
  const { store } = campaign;
  const name = evaluationStage(stage);
  const batches = Math.ceil(plan.attacks / BATCH);
  store.beginStage(name, batches + 1);
  const done = Math.min(store.lastUpdate(name) + 1, batches);
  store.truncateAfter(name, done - 1);
  await sampleBatches(campaign, stage, plan, { name, from: done, to: batches });
  store.recordUpdate({ stage: name, update: batches, metrics: await measureStage(campaign, name, plan) });
  store.endStage(name, 'done');
}

async function sampleBatches(
  campaign: Campaign,
  stage: TrainingStage,
  plan: EvaluationPlan,
  range: { readonly name: string; readonly from: number; readonly to: number },
): Promise<void> {
  const { attacker, store, io, target, config } = campaign;
  const parameters = await loadAttacker(campaign.folder, attacker, stage);
  const state = attacker.stateOf(parameters);
  const seats = evaluationSeats(campaign);
  const trainingJudge = { name: campaign.trainingJudge.name, masked: false };
  const bar = io.progress.start(range.name, plan.attacks, 'attacks');
  bar.update(range.from * BATCH);
  for (let batch = range.from; batch < range.to; batch++) {
    if (io.signal.aborted) {
      bar.finish();
      throw new FloodgateError(
        'interrupted',
        `${range.name}: interrupted, ${batch * BATCH} of ${plan.attacks} attacks are kept`,
      );
    }
    const started = monotonicMs();
    const first = batch * BATCH;
    const count = Math.min(BATCH, plan.attacks - first);
    const requests = Array.from({ length: count }, (_, i) => ({
      stream: randomStream(plan.seed, 'evaluation attack', first + i),
      temperature: plan.temperature,
    }));
    const attacks = await attacker.sample(state, requests);
    const calls = createCallCounter();
    const trials = await tryAttacks(
      attacks.map(({ text }, i) => ({ text, streamName: ['evaluation response', plan.seed, first + i] })),
      { target, decode: config.target.decode, responses: plan.responses, seats },
      calls,
    );
    const records = attacks.map((attack, i) => {
      const { responses } = trials[i] as (typeof trials)[number];
      const unsafe = unsafeOf({ responses }, trainingJudge);
      return {
        source: 'evaluation' as const,
        ids: attacker.rowOf(attack),
        text: attack.text,
        logPi: attack.logPi,
        logPRef: null,
        logReward: null,
        meanUnsafe: unsafe.length === 0 ? null : unsafe.reduce((sum, p) => sum + p, 0) / unsafe.length,
        responses,
      };
    });
    const tokens = attacks.reduce((sum, attack) => sum + attacker.rowOf(attack).length, calls.tokens);
    store.recordUpdate({
      stage: range.name,
      update: batch,
      attacks: records,
      cost: { ...calls, tokens, seconds: (monotonicMs() - started) / 1000 },
    });
    bar.update(first + count);
  }
  bar.finish();
}

function toMetric(name: string, measure: Measure, judge?: string): MetricRecord {
  return { name, ...measure, ...(judge === undefined ? {} : { judge }) };
}

/** Every metric of the stored evaluation attacks, per judge; from the database, so that a resume measures all of them. */
async function measureStage(
  { store, encoder, config, trainingJudge, evaluationJudges }: Campaign,
  name: string,
  plan: EvaluationPlan,
) {
  const attacks = store.attacks({ stage: name });
  const responses = attacks.map(({ id }) => store.responses(id));
  const texts = attacks.map(({ text }) => text);
  const flat = await encoder.embed(texts);
  const embeddings: EmbeddingMatrix = createEmbeddingMatrix(
    flat,
    texts.length,
    flat.length / Math.max(1, texts.length),
  );
  const judges = [...new Set([...evaluationJudges, trainingJudge].map((judge) => judge.name))];
  const outcomesOf = (judge: string, masked: boolean) =>
    responses.map((each) => storedOutcome(each, { name: judge, masked }));
  const targetCalls = responses.reduce((sum, each) => sum + each.length, 0);
  const metrics: MetricRecord[] = [];
  for (const judge of judges) {
    const outcomes = outcomesOf(judge, false);
    const maskedOutcomes = outcomesOf(judge, true);
    const report = measureAttackSet(
      { texts, embeddings, outcomes, maskedOutcomes },
      { seed: plan.seed, threshold: config.evaluation.uniqueThreshold },
    );
    for (const [metric, measure] of Object.entries(report.metrics)) metrics.push(toMetric(metric, measure, judge));
    metrics.push(
      toMetric('asrMasked', attackSuccess(maskedOutcomes).asr, judge),
      toMetric(
        'uniquePerThousandTargetCalls',
        perThousandTargetCalls(report.metrics.uniqueAttacks, targetCalls),
        judge,
      ),
      { name: 'excluded', judge, value: report.excluded, low: null, high: null, n: texts.length },
    );
  }
  const [first, second] = judges;
  if (first !== undefined && second !== undefined) {
    const { agreement, kappa } = judgeAgreement(outcomesOf(first, false), outcomesOf(second, false));
    metrics.push(toMetric('judgeAgreement', agreement), toMetric('judgeKappa', kappa));
  }
  return metrics;
}
