import { monotonicMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';
import { createCallCounter, meanUnsafeOf, tryAttacks } from '../../trial/try-attacks.ts';
import { type AttackSource } from '../attack-source.ts';
import { type Campaign, evaluationSeats } from '../campaign/campaign.ts';
import { type AttackerName } from '../config/attacker-names.ts';
import { openAttackSource } from '../open-attack-source.ts';
import { measureStage } from './measure-stage.ts';

/** Attacks of one stored batch: a kill costs at most so many. */
const BATCH = 32;

/**
 * Measures a stage's attacker on fresh attacks: samples, asks the target, has every judge score, each also with the
 * attack's own words masked. Goes on where it stopped, batch by batch.
 */
export async function evaluateStage(campaign: Campaign, stage: AttackerName, plan: EvaluationPlan): Promise<void> {
  const { store } = campaign;
  const name = evaluationStage(stage);
  const batches = Math.ceil(plan.attacks / BATCH);
  store.beginStage(name, batches + 1);
  const done = Math.min(store.lastUpdate(name) + 1, batches);
  store.truncateAfter(name, done - 1);
  if (done < batches) {
    const source = await openAttackSource(campaign, stage);
    try {
      await sampleBatches(campaign, source, plan, { name, from: done, to: batches });
    } finally {
      await source.close();
    }
  }
  const { metrics, events, curve } = await measureStage(campaign, stage, plan);
  store.recordUpdate({ stage: name, update: batches, metrics, events });
  for (const [i, point] of curve.entries()) {
    store.recordUpdate({ stage: name, update: batches + 1 + i, metrics: point });
  }
  store.endStage(name, 'done');
}

async function sampleBatches(
  campaign: Campaign,
  source: AttackSource,
  plan: EvaluationPlan,
  range: { readonly name: string; readonly from: number; readonly to: number },
): Promise<void> {
  const { store, io, evaluationTarget: target, config } = campaign;
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
    const { attacks, ids, cost } = await source.draw(first, count, plan);
    const calls = createCallCounter();
    const trials = await tryAttacks(
      attacks.map(({ text }, i) => ({ text, streamName: ['evaluation response', plan.seed, first + i] })),
      { target, decode: config.target.decode, responses: plan.responses, seats },
      calls,
    );
    const records = attacks.map((attack, i) => {
      const { responses } = trials[i] as (typeof trials)[number];
      return {
        source: 'evaluation' as const,
        ids: ids[i] as readonly number[],
        text: attack.text,
        logPi: attack.logPi,
        logPRef: null,
        logReward: null,
        meanUnsafe: meanUnsafeOf({ responses }, trainingJudge),
        responses,
      };
    });
    store.recordUpdate({
      stage: range.name,
      update: batch,
      attacks: records,
      cost: {
        targetCalls: calls.targetCalls + cost.targetCalls,
        judgeCalls: calls.judgeCalls + cost.judgeCalls,
        tokens: calls.tokens + cost.tokens,
        seconds: (monotonicMs() - started) / 1000,
      },
    });
    bar.update(first + count);
  }
  bar.finish();
}

/** How an attacker is measured. */
export interface EvaluationPlan {
  readonly attacks: number;
  readonly responses: number;
  /** Of the attacker; 1 is the distribution that it was trained to be. */
  readonly temperature: number;
  readonly seed: number;
}
