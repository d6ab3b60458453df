import { perThousandTargetCalls } from '../../metrics/cost.ts';
import { createEmbeddingMatrix, type EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { judgeAgreement } from '../../metrics/judge-agreement.ts';
import { measureAttackSet } from '../../metrics/registry.ts';
import { attackSuccess } from '../../metrics/success.ts';
import type { EventRecord, MetricRecord } from '../../runs/store/records.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';
import type { Campaign } from '../campaign/campaign.ts';
import { measuredMetric, plainMetric } from '../campaign/plain-metric.ts';
import type { AttackerName } from '../config/attacker-names.ts';
import { usedTargetCalls } from '../used-calls.ts';
import type { EvaluationPlan } from './evaluate-stage.ts';
import { type MeasuredUnseen, unseenMetrics } from './unseen-metrics.ts';
import { referenceRateMetrics, TEMPERATURE_METRIC } from './reference-rate.ts';
import { storedOutcome } from './stored-outcome.ts';
import { worldMetrics } from './world-metrics.ts';

/** Every metric of the stored evaluation attacks, per judge; from the database, so that a resume measures all of them. */
export async function measureStage(
  campaign: Campaign,
  stage: AttackerName,
  plan: EvaluationPlan,
): Promise<MeasuredUnseen> {
  const { store, encoder, config, trainingJudge, evaluationJudges } = campaign;
  const attacks = store.attacks({ stage: evaluationStage(stage) });
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
    for (const [metric, measure] of Object.entries(report.metrics))
      metrics.push(measuredMetric(metric, measure, judge));
    metrics.push(
      measuredMetric('asrMasked', attackSuccess(maskedOutcomes).asr, judge),
      measuredMetric(
        'uniquePerThousandTargetCalls',
        perThousandTargetCalls(report.metrics.uniqueAttacks, targetCalls),
        judge,
      ),
      plainMetric('excluded', report.excluded, texts.length, judge),
    );
  }
  const [first, second] = judges;
  if (first !== undefined && second !== undefined) {
    const { agreement, kappa } = judgeAgreement(outcomesOf(first, false), outcomesOf(second, false));
    metrics.push(measuredMetric('judgeAgreement', agreement), measuredMetric('judgeKappa', kappa));
  }
  const usedCalls = usedTargetCalls(campaign, stage, targetCalls);
  metrics.push(plainMetric('attackerTargetCalls', usedCalls, texts.length));
  if (campaign.world !== undefined) {
    const outcomes = outcomesOf(trainingJudge.name, false);
    const sample = { texts, outcomes, seed: plan.seed, usedCalls };
    metrics.push(...(await worldMetrics(campaign, campaign.world, stage, sample)));
  }
  const unseen = unseenMetrics({
    stage,
    temperature: plan.temperature,
    seed: plan.seed,
    threshold: config.evaluation.uniqueThreshold,
    embeddings,
    outcomes: new Map(judges.map((judge) => [judge, outcomesOf(judge, false)])),
    targetCallsPerAttack: store.cost(evaluationStage(stage)).targetCalls / Math.max(1, attacks.length),
  });
  const rate = await referenceRateMetrics(campaign, {
    stage,
    temperature: plan.temperature,
    evaluation: { attacks, responses },
    judges,
  });
  const temperature = plainMetric(TEMPERATURE_METRIC, plan.temperature, attacks.length);
  metrics.push(...unseen.metrics, ...rate.metrics, temperature);
  const successes = judges.reduce((sum, judge) => sum + attackSuccess(outcomesOf(judge, false)).successes, 0);
  const events = [...withoutSuccess(stage, attacks.length, successes), ...unseen.events, ...rate.events];
  return { metrics, curve: unseen.curve, events };
}

/** Attackers that were taught nothing about the target: that they fail says little. */
const UNTAUGHT: ReadonlySet<AttackerName> = new Set(['icl', 'sft']);

function withoutSuccess(stage: AttackerName, attacks: number, successes: number): EventRecord[] {
  if (successes > 0 || UNTAUGHT.has(stage)) return [];
  const message =
    `none of the ${attacks} attacks of ${stage} succeeded, by any judge: the target gave way to nothing that it wrote. ` +
    'A longer run, other seeds or a higher sampling temperature may find what is there; what was measured is kept';
  return [{ level: 'warning', code: 'no-success', message }];
}
