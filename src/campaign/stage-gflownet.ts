import { randomStream } from '../base/random.ts';
import { batchDiversity } from '../gflownet/batch-diversity.ts';
import type { FluencyForm, FluencyRule } from '../gflownet/fluency.ts';
import type { Objective } from '../gflownet/objectives.ts';
import { createReplayBuffer, type ReplayBuffer } from '../gflownet/replay-buffer.ts';
import { restoreReplayBuffer } from '../gflownet/replay-buffer-state.ts';
import type { ReplayBufferOptions } from '../gflownet/replay-rules.ts';
import { logRewardAt, type RewardRule } from '../gflownet/reward.ts';
import { collapseAlarm, type TrainingSnapshot } from '../metrics/collapse.ts';
import { createEmbeddingMatrix } from '../metrics/embedding-matrix.ts';
import { uniqueAttacks } from '../metrics/unique-attacks.ts';
import type { PolicySession } from '../models/decoder/policy-session.ts';
import type { AttackRecord, EventRecord, MetricRecord } from '../store/records.ts';
import type { AttackerState, AttackTokens } from '../training/attacker.ts';
import {
  type GflownetOptions,
  type GflownetParts,
  type GflownetRow,
  type GflownetUpdate,
  referenceTerms,
  toCandidate,
  trainGflownet,
} from '../training/gflownet.ts';
import { saveTrainerState } from '../training/trainer-state.ts';
import { type Campaign, checkpointFile, loopControl, rewardSeats } from './campaign.ts';
import type { Config, GflownetConfig } from './config-schema.ts';
import { resumeStage } from './resume-stage.ts';
import { loadReference, openAttackerPolicy } from './stage-sft.ts';
import { type CallCounter, createCallCounter, createRewardFunction, type Trial } from './try-attacks.ts';

export const GFLOWNET = 'gflownet';
/** The policy with the best held-out ASR x unique attacks; absent when no held-out evaluation is made. */
export const BEST_CHECKPOINT = 'gflownet-best.safetensors';

function objectiveOf({ objective, ctb }: GflownetConfig): Objective {
  return objective === 'ctb' ? { kind: 'ctb', sigma: ctb.sigma, huber: ctb.huber } : { kind: objective };
}

function fluencyRule(config: Config): FluencyRule {
  const { form, k, threshold, penalty, shortPenalty } = config.gflownet.fluency;
  const rule: FluencyForm = form === 'min-k-gate' ? { kind: form, k, threshold, penalty } : { kind: form };
  return { form: rule, minTokens: config.attacker.minTokens, shortPenalty };
}

export function rewardRule({ gflownet }: Config): RewardRule {
  const { beta, gamma, temperature } = gflownet;
  return { beta, gamma, temperature };
}

const REPLAY_BY = { logS: 'judge', logR: 'reward', uniform: 'uniform' } as const;

function gflownetOptions(config: Config): GflownetOptions {
  const { gflownet, seed } = config;
  const { updates, warmupUpdates, decay, sampling } = gflownet;
  const rate = (peak: number) => ({ peak, warmupUpdates, decay, totalUpdates: updates });
  return {
    objective: objectiveOf(gflownet),
    updates,
    batchSize: gflownet.batchSize,
    accumulation: gflownet.accumulation,
    learningRate: rate(gflownet.learningRate),
    logZLearningRate: rate(gflownet.logZLearningRate ?? gflownet.learningRate),
    gradientClip: gflownet.gradientClip,
    weightDecay: gflownet.weightDecay,
    reward: rewardRule(config),
    fluency: fluencyRule(config),
    truncationPenalty: gflownet.truncationPenalty,
    freshShare: gflownet.objective === 'ctb' ? gflownet.ctb.onPolicyShare : sampling.freshShare,
    temperedShare: sampling.temperedShare,
    temperatures: sampling.temperatures,
    replayBy: REPLAY_BY[gflownet.replay.draw],
    rescoreReplay: gflownet.replay.rescore,
    seed,
  };
}

function bufferOptions({ replay }: GflownetConfig): Partial<ReplayBufferOptions> {
  const evictBy = replay.evictBy === 'logS' ? 'judge' : 'reward';
  return {
    capacity: replay.capacity,
    evictBy,
    nearEditRatio: replay.nearDuplicate.kind === 'edit' ? replay.nearDuplicate.threshold : null,
    nearCosine: replay.nearDuplicate.kind === 'cosine' ? replay.nearDuplicate.threshold : null,
  };
}

/** Sentence embeddings one by one, as the buffer keeps them. */
function embedder({ encoder }: Campaign): (texts: readonly string[]) => Promise<Float32Array[]> {
  return async (texts) => {
    const flat = await encoder.embed(texts);
    const width = flat.length / Math.max(1, texts.length);
    return texts.map((_, i) => flat.slice(i * width, (i + 1) * width));
  };
}

/** Tries seeds and samples of the reference once and puts them into the buffer, so that replay has something to draw. */
async function seedBuffer(parts: GflownetParts<Trial>, campaign: Campaign, options: GflownetOptions): Promise<void> {
  const { attacker, seeds, config } = campaign;
  const { seedWithSft, seedWithReference } = config.gflownet.replay;
  const fitting = ({ tokens }: AttackTokens): boolean => tokens.length >= attacker.spec.minTokens;
  const attacks: (AttackTokens & { text: string })[] = seedWithSft
    ? seeds.attacks
        .map((text) => attacker.tokensOf(text))
        .filter(fitting)
        .map((attack) => ({ ...attack, text: attacker.textOf(attack.tokens) }))
    : [];
  const requests = Array.from({ length: seedWithReference }, (_, i) => ({
    stream: randomStream(config.seed, 'reference', i),
    temperature: 1,
  }));
  for (let i = 0; i < requests.length; i += CHUNK)
    attacks.push(...(await attacker.sample(parts.reference, requests.slice(i, i + CHUNK))));
  const logReward = logRewardAt(options.reward, 0);
  const bar = campaign.io.progress.start('try the seeds', attacks.length, 'attacks');
  for (let start = 0; start < attacks.length; start += CHUNK) {
    const chunk = attacks.slice(start, start + CHUNK);
    const terms = await referenceTerms(attacker, parts.reference, chunk, options);
    const embeddings = await parts.embed?.(chunk.map(({ text }) => text));
    const results = await parts.reward(chunk.map(({ text }, i) => ({ text, streamName: ['seed', start + i] })));
    for (const [i, attack] of chunk.entries()) {
      const score = results[i]?.score;
      if (score === undefined) continue;
      const candidate = toCandidate(attack, terms[i]?.fluency as number, score, 0, embeddings?.[i]);
      parts.buffer.insert(candidate, ({ logPRef, logS }) => logReward(logPRef, logS));
    }
    bar.update(Math.min(start + CHUNK, attacks.length));
  }
  bar.finish();
}

const CHUNK = 32;

function toAttackRecord(campaign: Campaign, row: GflownetRow<Trial>): AttackRecord {
  return {
    source: row.source,
    ids: campaign.attacker.rowOf(row),
    text: row.text,
    logPi: row.logPi,
    logPRef: row.logPRef ?? null,
    logReward: row.logReward,
    meanUnsafe: row.meanUnsafe,
    responses: row.evidence?.responses ?? [],
  };
}

function unscoredRecord(entry: GflownetUpdate<Trial>['unscored'][number]): AttackRecord {
  return {
    source: 'fresh',
    ids: entry.tokens,
    text: entry.text,
    logPi: null,
    logPRef: null,
    logReward: null,
    meanUnsafe: null,
    responses: entry.evidence.responses,
  };
}

function updateMetrics(record: GflownetUpdate<Trial>): MetricRecord[] {
  // Tempered and replayed rows say nothing of the policy's own distribution.
  const fresh = record.rows.filter(({ source }) => source === 'fresh');
  const metric = (name: string, value: number | null, n = fresh.length): MetricRecord => ({
    name,
    value,
    low: null,
    high: null,
    n,
  });
  const mean = (pick: (row: GflownetRow<Trial>) => number): number | null =>
    fresh.length === 0 ? null : fresh.reduce((sum, row) => sum + pick(row), 0) / fresh.length;
  return [
    metric('loss', record.loss, record.rows.length),
    ...(record.logZ === undefined ? [] : [metric('logZ', record.logZ, record.rows.length)]),
    metric('residualSpread', record.residualSpread, record.rows.length),
    metric('gradientNorm', record.gradientNorm, record.rows.length),
    metric(
      'logReward',
      mean((row) => row.logReward),
    ),
    metric(
      'batchUnsafe',
      mean((row) => row.meanUnsafe),
    ),
    metric(
      'batchAsr',
      mean((row) => (row.meanUnsafe > 0.5 ? 1 : 0)),
    ),
    metric(
      'fluency',
      mean((row) => row.fluency),
    ),
    metric('bufferSize', record.bufferSize, 1),
    metric('nearDuplicates', record.nearDuplicates, 1),
    metric('unscored', record.unscored.length, 1),
  ];
}

/** What the stage remembers between updates beside the buffer; JSON-safe, part of every checkpoint. */
interface Watch {
  history: TrainingSnapshot[];
  bestQuality: number;
  bestUpdate: number;
  /** Most unique attacks that any held-out evaluation counted. */
  mostUnique: number;
  /** Held-out evaluations since the best one. */
  evaluationsSinceBest: number;
  isAlarmed: boolean;
}

const NEW_WATCH: Watch = {
  history: [],
  bestQuality: -1,
  bestUpdate: -1,
  mostUnique: 0,
  evaluationsSinceBest: 0,
  isAlarmed: false,
};
/** Snapshots kept for the alarm's windows. */
const HISTORY = 2000;

/** Held-out ASR and unique attacks of the present policy. */
async function heldOut(campaign: Campaign, policy: PolicySession, update: number, parts: GflownetParts<Trial>) {
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
async function watchUpdate(
  campaign: Campaign,
  policy: PolicySession,
  record: GflownetUpdate<Trial>,
  parts: GflownetParts<Trial>,
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
      { name: 'heldOutAsr', value: measured.asr, low: null, high: null, n: measured.n },
      { name: 'heldOutUnique', value: measured.unique, low: null, high: null, n: measured.n },
    );
    if (quality > watch.bestQuality) {
      Object.assign(watch, { bestQuality: quality, bestUpdate: record.update, evaluationsSinceBest: 0 });
      await keepBest(campaign, policy, record.update);
    } else watch.evaluationsSinceBest++;
    stop ||= gflownet.earlyStop.enabled && watch.evaluationsSinceBest >= gflownet.earlyStop.patience;
  }
  return { events, metrics, stop };
}

/** Writes the policy as the best one so far, for sampling only: without optimizer state. */
async function keepBest({ folder }: Campaign, policy: PolicySession, update: number): Promise<void> {
  const optimizer = { firstMoment: new Float32Array(0), secondMoment: new Float32Array(0), step: 0 };
  await saveTrainerState(checkpointFile(folder, BEST_CHECKPOINT), policy.parameters, { update, optimizer, extra: {} });
}

function restoreBuffer(extra: unknown): { buffer: ReplayBuffer; watch: Watch; calls: CallCounter } | undefined {
  if (extra === undefined) return undefined;
  const { buffer, caller } = extra as { buffer: unknown; caller: { watch: Watch; calls: CallCounter } };
  return { buffer: restoreReplayBuffer(buffer), ...caller };
}

/** GFlowNet fine-tuning: from the SFT attacker, with the frozen SFT attacker as reference. */
export async function runGflownet(campaign: Campaign): Promise<void> {
  const { config, attacker, store } = campaign;
  const options = gflownetOptions(config);
  store.beginStage(GFLOWNET, options.updates);
  const reference = await loadReference(campaign);
  const logZ =
    options.objective.kind !== 'tb' ? 'none' : config.gflownet.stopLogZGradient ? 'head-only' : 'through-trunk';
  const policy = await openAttackerPolicy(campaign, {
    logZ,
    ...(options.objective.kind === 'ctb' ? { pairClip: options.objective.huber } : {}),
  });
  try {
    policy.parameters.data.set(reference.data); // the logZ head lies behind and starts at zero
    const start = await resumeStage(campaign, GFLOWNET, policy.parameters);
    const restored = restoreBuffer(start.extra);
    const calls = restored?.calls ?? createCallCounter();
    const parts = createParts(campaign, policy, attacker.stateOf(reference), restored?.buffer, calls);
    const watch: Watch = restored?.watch ?? { ...NEW_WATCH };
    if (restored === undefined) await seedBuffer(parts, campaign, options);
    await trainGflownet(parts, options, {
      control: loopControl(campaign, GFLOWNET, config.gflownet.checkpointEveryUpdates),
      from: start.update,
      optimizer: start.optimizer,
      // Calls not stored yet: those of the seeds, when stopped before the first update.
      extra: () => ({ watch, calls: { ...calls } }),
      onUpdate: async (record) => {
        const watched = await watchUpdate(campaign, policy, record, parts, watch, calls);
        store.recordUpdate({
          stage: GFLOWNET,
          update: record.update,
          attacks: [...record.rows.map((row) => toAttackRecord(campaign, row)), ...record.unscored.map(unscoredRecord)],
          metrics: [...updateMetrics(record), ...watched.metrics],
          events: watched.events,
          cost: {
            targetCalls: calls.targetCalls,
            judgeCalls: calls.judgeCalls,
            tokens: calls.tokens + record.attackTokens,
            seconds: record.seconds,
          },
        });
        Object.assign(calls, createCallCounter());
        return watched.stop;
      },
    });
    store.endStage(GFLOWNET, 'done');
  } finally {
    await policy.close();
  }
}

function createParts(
  campaign: Campaign,
  policy: PolicySession,
  reference: AttackerState,
  restored: ReplayBuffer | undefined,
  calls: CallCounter,
): GflownetParts<Trial> {
  const { config, attacker, target } = campaign;
  const { gflownet } = config;
  const reward = createRewardFunction(
    { target, decode: config.target.decode, responses: config.target.responses, seats: rewardSeats(campaign) },
    gflownet.unsafeFloor,
    calls,
  );
  return {
    attacker,
    policy,
    reference,
    buffer: restored ?? createReplayBuffer(bufferOptions(gflownet)),
    reward,
    ...(gflownet.replay.nearDuplicate.kind === 'cosine' ? { embed: embedder(campaign) } : {}),
  };
}
