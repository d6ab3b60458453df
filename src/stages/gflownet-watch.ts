import { randomStream } from '../base/random.ts';
import { saveTrainerState } from '../learning/checkpoints/trainer-state.ts';
import type { RewardFunction } from '../learning/reward/reward-function.ts';
import { batchDiversity } from '../metrics/batch-diversity.ts';
import { collapseAlarm, type TrainingSnapshot } from '../metrics/collapse.ts';
import { createEmbeddingMatrix } from '../metrics/embedding-matrix.ts';
import { uniqueAttacks } from '../metrics/unique-attacks.ts';
import type { ParameterVector } from '../models/decoder/parameter-vector.ts';
import type { EventRecord, MetricRecord } from '../runs/store/records.ts';
import type { CallCounter, Trial } from '../trial/try-attacks.ts';
import { type Campaign, checkpointFile } from './campaign/campaign.ts';
import { plainMetric } from './campaign/plain-metric.ts';

/** A stage's policy with the best held-out ASR x unique attacks; absent when no held-out evaluation is made. */
export function bestCheckpoint(stage: string): string {
  return `${stage}-best.safetensors`;
}

/** What the stage remembers between updates beside the buffer; JSON-safe, part of every checkpoint. */
export interface Watch {
  history: TrainingSnapshot[];
  bestQuality: number;
  bestUpdate: number;
  /** Most unique attacks that any held-out evaluation counted. */
  mostUnique: number;
  /** Held-out evaluations since the best one. */
  evaluationsSinceBest: number;
  isAlarmed: boolean;
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

/** What is watched of a policy in training, whatever trains it. */
interface WatchedPolicy {
  readonly parameters: ParameterVector;
}

interface WatchedParts {
  readonly reward: RewardFunction<Trial>;
}

interface WatchedUpdate {
  readonly update: number;
  readonly rows: readonly {
    readonly source: string;
    readonly tokens: readonly number[];
    readonly meanUnsafe: number;
  }[];
}

/** Held-out ASR and unique attacks of the present policy. */
async function heldOut(campaign: Campaign, policy: WatchedPolicy, update: number, parts: WatchedParts) {
  const { attacker, config, encoder } = campaign;
  const count = config.gflownet.evaluation.attacks;
  const state = attacker.stateOf(policy.parameters);
  const attacks = await attacker.sample(
    state,
    Array.from({ length: count }, (_, i) => ({
      stream: randomStream(config.seed, 'held out', update, i),
      temperature: 1,
    })),
  );
  const results = await parts.reward(attacks.map(({ text }, i) => ({ text, streamName: ['held out', update, i] })));
  const scored = results.flatMap(({ score }, i) =>
    score === undefined ? [] : [{ i, isSuccess: score.meanUnsafe > 0.5 }],
  );
  const successes = scored.filter(({ isSuccess }) => isSuccess).map(({ i }) => i);
  const embeddings = await encoder.embed(attacks.map(({ text }) => text));
  const matrix = createEmbeddingMatrix(embeddings, attacks.length, embeddings.length / attacks.length);
  const unique = uniqueAttacks(matrix, successes, config.evaluation.uniqueThreshold).clusters.length;
  const asr = scored.length === 0 ? 0 : successes.length / scored.length;
  return { asr, unique, n: count, tokens: attacks.reduce((sum, { tokens }) => sum + tokens.length, 0) };
}

/** Watches the policy: alarm, best checkpoint, early stop. Returns what to store and whether to end the stage. */
export async function watchUpdate(
  campaign: Campaign,
  stage: string,
  policy: WatchedPolicy,
  record: WatchedUpdate,
  parts: WatchedParts,
  watch: Watch,
  calls: CallCounter,
) {
  const { gflownet } = campaign.config;
  const events: EventRecord[] = [];
  const metrics: MetricRecord[] = [];
  const fresh = record.rows.filter(({ source }) => source !== 'replay');
  const diversity = batchDiversity(fresh.map(({ tokens }) => tokens));
  const meanUnsafe = fresh.length === 0 ? null : fresh.reduce((sum, row) => sum + row.meanUnsafe, 0) / fresh.length;
  watch.history = [...watch.history, { update: record.update, meanUnsafe, ...diversity }].slice(-HISTORY);
  let stop = false;
  if (gflownet.collapseAlarm.enabled) {
    const verdict = collapseAlarm(watch.history);
    if (verdict.kind === 'collapse' && !watch.isAlarmed) {
      events.push({
        level: 'warning',
        code: 'collapse',
        message: `the attacker may be collapsing: ${verdict.reasons.join(', ')}`,
      });
      stop = gflownet.collapseAlarm.stopEarly;
    }
    watch.isAlarmed = verdict.kind === 'collapse';
  }
  const { everyUpdates } = gflownet.evaluation;
  if (everyUpdates > 0 && (record.update + 1) % everyUpdates === 0) {
    const measured = await heldOut(campaign, policy, record.update, parts);
    calls.tokens += measured.tokens;
    if (gflownet.collapseAlarm.enabled && measured.unique < gflownet.collapseAlarm.dropShare * watch.mostUnique) {
      const message = `held-out unique attacks fell to ${measured.unique}, from ${watch.mostUnique} at best`;
      events.push({ level: 'warning', code: 'collapse', message });
      stop ||= gflownet.collapseAlarm.stopEarly;
    }
    watch.mostUnique = Math.max(watch.mostUnique, measured.unique);
    const quality = measured.asr * measured.unique;
    metrics.push(
      plainMetric('heldOutAsr', measured.asr, measured.n),
      plainMetric('heldOutUnique', measured.unique, measured.n),
    );
    if (quality > watch.bestQuality) {
      Object.assign(watch, { bestQuality: quality, bestUpdate: record.update, evaluationsSinceBest: 0 });
      await keepBest(campaign, stage, policy, record.update);
    } else watch.evaluationsSinceBest++;
    stop ||= gflownet.earlyStop.enabled && watch.evaluationsSinceBest >= gflownet.earlyStop.patience;
  }
  return { events, metrics, stop };
}

/** Writes the policy as the best one so far, for sampling only: without optimizer state. */
async function keepBest({ folder }: Campaign, stage: string, policy: WatchedPolicy, update: number): Promise<void> {
  const optimizer = { firstMoment: new Float32Array(0), secondMoment: new Float32Array(0), step: 0 };
  await saveTrainerState(checkpointFile(folder, bestCheckpoint(stage)), policy.parameters, {
    update,
    optimizer,
    extra: {},
  });
}
