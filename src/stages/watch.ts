import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import { cellInTurn } from '../learning/attacker.ts';
import { saveTrainerState } from '../learning/checkpoints/trainer-state.ts';
import type { TrainingUpdate } from '../learning/loops/rollout.ts';
import { isUnsafe, type RewardFunction } from '../learning/reward/reward.ts';
import { batchDiversity, collapseAlarm, type TrainingSnapshot } from '../metrics/collapse.ts';
import { createEmbeddingMatrix } from '../metrics/embedding-matrix.ts';
import { finishPausing } from '../metrics/steps.ts';
import { uniqueAttacksInSteps } from '../metrics/unique-attacks.ts';
import type { EventRecord, MetricRecord } from '../runs/store/records.ts';
import type { Evidence } from '../trial/evidence.ts';
import type { Ledger } from '../trial/ledger.ts';
import { bestCheckpoint, checkpointFile } from './checkpoints.ts';
import { plainMetric } from './metric-records.ts';
import type { Campaign } from './stage.ts';

/** State of a stage between updates; JSON-safe, part of every checkpoint. */
export interface Watch {
  history: TrainingSnapshot[];
  bestQuality: number;
  bestUpdate: number;
  /** Most unique attacks that any held-out evaluation counted. */
  mostUnique: number;
  /** Held-out evaluations since the best one. */
  evaluationsSinceBest: number;
  isAlarmed: boolean;
  /** The last update, when its held-out evaluation was interrupted: a resume makes it first. */
  heldOutDue?: number;
}

export const NEW_WATCH: Watch = {
  history: [],
  bestQuality: -1,
  bestUpdate: -1,
  mostUnique: 0,
  evaluationsSinceBest: 0,
  isAlarmed: false,
};

/** Snapshots kept for the alarm's windows. */
const HISTORY = 2000;

/** Attacks that the held-out evaluations of this many updates try. */
export function heldOutAttacks({ watch }: Pick<Campaign['config'], 'watch'>, updates: number): number {
  const { everyUpdates, attacks } = watch;
  return everyUpdates === 0 ? 0 : Math.floor(updates / everyUpdates) * attacks;
}

/** A stage while it learns from rewards. */
export interface WatchedStage {
  readonly campaign: Campaign;
  readonly stage: string;
  /** Parameters of the current policy. */
  readonly parameters: ParameterVector;
  readonly reward: RewardFunction<Evidence>;
  readonly ledger: Ledger;
  /** Changes with every update. */
  readonly watch: Watch;
}

/** The outcome of watching an update: records to store, and whether the stage ends. */
export interface WatchOutcome {
  readonly events: readonly EventRecord[];
  readonly metrics: readonly MetricRecord[];
  readonly stop: boolean;
}

/** Held-out ASR and unique attacks of the current policy. */
async function heldOut({ campaign, parameters, reward, ledger }: WatchedStage, update: number) {
  const { attacker, config, encoder, io } = campaign;
  const requests = Array.from({ length: config.watch.attacks }, (_, i) => ({
    stream: randomStream(config.seed, 'held out', update, i),
    temperature: 1,
    ...cellInTurn(attacker.cells, i),
  }));
  const attacks = await attacker.sample(attacker.stateOf(parameters), requests);
  const results = await reward(attacks.map(({ text }, i) => ({ text, streamName: ['held out', update, i] })));
  const scored = results.flatMap(({ score }, i) => (score === undefined ? [] : [{ i, score }]));
  const successes = scored.filter(({ score }) => isUnsafe(score.meanUnsafe)).map(({ i }) => i);
  const embeddings = await encoder.embed(
    attacks.map(({ text }) => text),
    io.signal,
  );
  const matrix = createEmbeddingMatrix(embeddings, attacks.length, embeddings.length / attacks.length);
  const steps = uniqueAttacksInSteps(matrix, successes, config.evaluation.uniqueThreshold);
  const unique = (await finishPausing(steps, io.signal, 'held-out attacks')).clusters.length;
  ledger.add({ tokens: attacks.reduce((sum, { tokens }) => sum + tokens.length, 0) });
  return { asr: scored.length === 0 ? 0 : successes.length / scored.length, unique, n: attacks.length };
}

const collapse = (message: string): EventRecord => ({ level: 'warning', code: 'collapse', message });

/** The alarm over the attacks of the updates so far. */
function watchCollapse({ campaign, watch }: WatchedStage, { update, rows }: TrainingUpdate<Evidence>): WatchOutcome {
  const { collapseAlarm: settings } = campaign.config.watch;
  const fresh = rows.filter(({ source }) => source === 'fresh' || source === 'tempered');
  if (fresh.length === 0) return { events: [], metrics: [], stop: false };
  const diversity = batchDiversity(fresh.map(({ tokens }) => tokens));
  const sum = fresh.reduce((total, { score }) => total + score.meanUnsafe, 0);
  const meanUnsafe = fresh.length === 0 ? null : sum / fresh.length;
  watch.history = [...watch.history, { update, meanUnsafe, ...diversity }].slice(-HISTORY);
  if (!settings.enabled) return { events: [], metrics: [], stop: false };
  const verdict = collapseAlarm(watch.history);
  const isNew = verdict.kind === 'collapse' && !watch.isAlarmed;
  watch.isAlarmed = verdict.kind === 'collapse';
  if (!isNew) return { events: [], metrics: [], stop: false };
  const event = collapse(`the attacker may be collapsing: ${verdict.reasons.join(', ')}`);
  return { events: [event], metrics: [], stop: settings.stopEarly };
}

const NOTHING: WatchOutcome = { events: [], metrics: [], stop: false };

/**
 * A held-out evaluation, where one is due. The update before it is done and must be stored, so Ctrl-C is no error here:
 * the evaluation is noted as due, and a resume makes it with the same parameters.
 */
async function watchHeldOut(watched: WatchedStage, update: number): Promise<WatchOutcome> {
  const { everyUpdates } = watched.campaign.config.watch;
  if (everyUpdates === 0 || (update + 1) % everyUpdates !== 0) return NOTHING;
  try {
    return await evaluateHeldOut(watched, update);
  } catch (error) {
    if (!(error instanceof FloodgateError) || error.code !== 'interrupted') throw error;
    watched.watch.heldOutDue = update;
    return NOTHING;
  }
}

/**
 * Makes the held-out evaluation that an interruption left over, and stores it with its update.
 * @returns whether it ends the stage.
 * @throws FloodgateError `interrupted` on abort; it is then due as before.
 */
export async function finishHeldOut(watched: WatchedStage): Promise<boolean> {
  const { campaign, stage, ledger, watch } = watched;
  const update = watch.heldOutDue;
  if (update === undefined) return false;
  const started = monotonicMs();
  const { events, metrics, stop } = await evaluateHeldOut(watched, update);
  const cost = { ...ledger.take(), seconds: (monotonicMs() - started) / 1000 };
  campaign.store.recordUpdate({ stage, update, events, metrics, cost });
  delete watch.heldOutDue;
  return stop;
}

/** Best checkpoint, early stop, and the alarm over unique attacks. */
async function evaluateHeldOut(watched: WatchedStage, update: number): Promise<WatchOutcome> {
  const { campaign, watch } = watched;
  const { collapseAlarm: alarm, earlyStop } = campaign.config.watch;
  const { asr, unique, n } = await heldOut(watched, update);
  const isFallen = alarm.enabled && unique < alarm.dropShare * watch.mostUnique;
  const fallen = `held-out unique attacks fell to ${unique}, from ${watch.mostUnique} at best`;
  watch.mostUnique = Math.max(watch.mostUnique, unique);
  const quality = asr * unique;
  if (quality > watch.bestQuality) {
    Object.assign(watch, { bestQuality: quality, bestUpdate: update, evaluationsSinceBest: 0 });
    await keepBest(watched, update);
  } else watch.evaluationsSinceBest++;
  return {
    events: isFallen ? [collapse(fallen)] : [],
    metrics: [plainMetric('heldOutAsr', asr, n), plainMetric('heldOutUnique', unique, n)],
    stop: (isFallen && alarm.stopEarly) || (earlyStop.enabled && watch.evaluationsSinceBest >= earlyStop.patience),
  };
}

/** Watches the policy after an update: alarm, best checkpoint, early stop. */
export async function watchUpdate(watched: WatchedStage, record: TrainingUpdate<Evidence>): Promise<WatchOutcome> {
  const first = watchCollapse(watched, record);
  const second = await watchHeldOut(watched, record.update);
  return {
    events: [...first.events, ...second.events],
    metrics: second.metrics,
    stop: first.stop || second.stop,
  };
}

/** Writes the policy as the best one so far, for sampling only: without optimizer state. */
async function keepBest({ campaign, stage, parameters }: WatchedStage, update: number): Promise<void> {
  const optimizer = { firstMoment: new Float32Array(0), secondMoment: new Float32Array(0), step: 0 };
  const file = checkpointFile(campaign.folder, bestCheckpoint(stage));
  await saveTrainerState(file, parameters, { update, optimizer, extra: {} });
}
