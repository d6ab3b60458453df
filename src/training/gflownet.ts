import { monotonicMs } from '../base/clock.ts';
import { type RandomStream, randomStream } from '../base/random.ts';
import { type FluencyRule, fluencyTerm } from '../gflownet/fluency.ts';
import {
  directWeights,
  type Objective,
  objectiveLoss,
  residualGradient,
  type StepWeights,
  singleBatchWeights,
  usesLogZ,
} from '../gflownet/objectives.ts';
import type { ReplayBuffer } from '../gflownet/replay-buffer.ts';
import { serialiseReplayBuffer } from '../gflownet/replay-buffer-state.ts';
import type { LogRewardOf, ReplayCandidate, ReplayEntry } from '../gflownet/replay-entry.ts';
import { type JudgeScore, logRewardAt, type RewardRule } from '../gflownet/reward.ts';
import type { PolicySession } from '../models/decoder/policy-session.ts';
import { ADAMW_DEFAULTS, type AdamWState, adamwUpdate, clipGradient, type RateSegment } from './adamw.ts';
import type { Attacker, AttackerState, SampledAttack } from './attacker.ts';
import { type LearningRateRule, learningRateAt } from './learning-rate.ts';
import type { RewardFunction } from './reward-function.ts';
import { type LoopControl, runUpdates, type UpdateOutcome } from './update-loop.ts';

export interface GflownetOptions {
  readonly objective: Objective;
  readonly updates: number;
  /** Rows of one micro-batch. */
  readonly batchSize: number;
  /** Micro-batches of one update. */
  readonly accumulation: number;
  readonly learningRate: LearningRateRule;
  readonly logZLearningRate: LearningRateRule;
  readonly gradientClip: number;
  readonly weightDecay: number;
  readonly reward: RewardRule;
  readonly fluency: FluencyRule;
  readonly truncationPenalty: boolean;
  /** Share of each update that the attacker writes; the rest is replay. */
  readonly freshShare: number;
  /** Share of the fresh attacks drawn at a temperature from U(low, high). */
  readonly temperedShare: number;
  readonly temperatures: { readonly low: number; readonly high: number };
  readonly replayBy: 'judge' | 'reward' | 'uniform';
  /** New responses for replayed attacks; their scores average over all responses so far. */
  readonly rescoreReplay: boolean;
  readonly seed: number;
}

/** One row of an update, as it is logged. */
export interface GflownetRow<Evidence> {
  readonly source: 'fresh' | 'tempered' | 'replay';
  readonly tokens: readonly number[];
  readonly terminated: boolean;
  readonly text: string;
  readonly logPi: number;
  readonly fluency: number;
  /** log p_ref of the attack; absent for a replayed row. */
  readonly logPRef?: number;
  readonly logReward: number;
  readonly meanUnsafe: number;
  /** Absent for a replayed row that kept its score. */
  readonly evidence?: Evidence;
}

export interface GflownetUpdate<Evidence> {
  readonly update: number;
  readonly loss: number;
  readonly logZ: number | undefined;
  /** Standard deviation of the residuals, nats. */
  readonly residualSpread: number;
  readonly gradientNorm: number;
  readonly rows: readonly GflownetRow<Evidence>[];
  /** Fresh attacks that no judge could score: dropped from the update. */
  readonly unscored: readonly {
    readonly text: string;
    readonly tokens: readonly number[];
    readonly evidence: Evidence;
  }[];
  /** Tokens written by the attacker. */
  readonly attackTokens: number;
  readonly bufferSize: number;
  readonly nearDuplicates: number;
  readonly seconds: number;
}

export interface GflownetParts<Evidence> {
  readonly attacker: Attacker;
  readonly policy: PolicySession;
  /** The frozen reference p_ref. */
  readonly reference: AttackerState;
  readonly buffer: ReplayBuffer;
  readonly reward: RewardFunction<Evidence>;
  /** Embeds texts when the buffer tells near-duplicates by cosine. */
  readonly embed?: (texts: readonly string[]) => Promise<Float32Array[]>;
}

export interface GflownetRun<Evidence> {
  readonly control: LoopControl;
  readonly from: number;
  readonly optimizer: AdamWState;
  /** JSON-safe state of the caller that belongs into each checkpoint. */
  extra?(): unknown;
  /** Called after each update; returning true ends the stage. */
  onUpdate(update: GflownetUpdate<Evidence>): Promise<boolean>;
}

interface Row<Evidence> {
  readonly source: GflownetRow<Evidence>['source'];
  readonly candidate: ReplayCandidate;
  /** Known for attacks sampled in this update. */
  readonly logPRef?: number;
  readonly evidence?: Evidence;
}

/** What the reference says of an attack. */
export interface ReferenceTerms {
  /** log p_ref over the sampler's factors, whatever the fluency form. */
  readonly logPRef: number;
  /** The term that enters the reward. */
  readonly fluency: number;
}

/** The fluency term of attacks under the reference, with the end's log-prob added to cut ones when that is asked for. */
export async function referenceTerms(
  attacker: Attacker,
  reference: AttackerState,
  attacks: readonly { readonly tokens: readonly number[]; readonly terminated: boolean }[],
  rule: { readonly fluency: FluencyRule; readonly truncationPenalty: boolean },
): Promise<ReferenceTerms[]> {
  const scores = await attacker.score(reference, attacks, rule.truncationPenalty);
  return attacks.map(({ tokens, terminated }, i) => {
    const all = scores[i] as Float32Array;
    const isCut = rule.truncationPenalty && !terminated;
    const own = isCut ? all.subarray(0, -1) : all;
    const term = fluencyTerm(rule.fluency, { tokenLogProbs: own, tokens: tokens.length });
    const logPRef = own.reduce((sum, logProb) => sum + logProb, 0);
    return { logPRef, fluency: isCut ? term + (all.at(-1) as number) : term };
  });
}

/** Fresh attacks of one update: some at temperature 1, the rest tempered, each from its own stream. */
async function sampleFresh<E>(parts: GflownetParts<E>, options: GflownetOptions, update: number) {
  const { attacker, policy } = parts;
  const total = options.batchSize * options.accumulation;
  const count = Math.max(1, Math.round(total * options.freshShare));
  const tempered = Math.round(count * options.temperedShare);
  const requests = Array.from({ length: count }, (_, row) => {
    const stream: RandomStream = randomStream(options.seed, 'attack', update, row);
    const { low, high } = options.temperatures;
    return { stream, temperature: row < count - tempered ? 1 : low + (high - low) * stream.nextFloat() };
  });
  const state = attacker.stateOf(policy.parameters);
  const sampled: SampledAttack[] = [];
  for (let start = 0; start < count; start += MAX_SAMPLED_ROWS) {
    sampled.push(...(await attacker.sample(state, requests.slice(start, start + MAX_SAMPLED_ROWS))));
  }
  return { sampled, total, isTempered: (row: number) => row >= count - tempered };
}

/** Rows sampled or scored at once: bounds the K/V cache and the logits. */
const MAX_SAMPLED_ROWS = 64;

function rewardOf(options: GflownetOptions, update: number): LogRewardOf {
  const logReward = logRewardAt(options.reward, update);
  return (entry) => logReward(entry.logPRef, entry.logS);
}

/** Replayed rows, with new responses averaged in when asked for. */
async function replayRows<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  update: number,
  count: number,
): Promise<Row<E>[]> {
  const stream = randomStream(options.seed, 'replay', update);
  const logReward = rewardOf(options, update);
  const drawn = parts.buffer.sample(count, { by: options.replayBy, logReward, stream });
  if (!options.rescoreReplay || drawn.length === 0) return drawn.map((candidate) => ({ source: 'replay', candidate }));
  const results = await parts.reward(drawn.map(({ text }, row) => ({ text, streamName: ['rescore', update, row] })));
  return drawn.map((entry, i): Row<E> => {
    const { score, evidence } = results[i] as (typeof results)[number];
    if (score !== undefined) parts.buffer.rescore(entry.id, score);
    return { source: 'replay', candidate: parts.buffer.get(entry.id) as ReplayEntry, evidence };
  });
}

interface Gathered<E> {
  readonly rows: Row<E>[];
  readonly unscored: GflownetUpdate<E>['unscored'];
  readonly attackTokens: number;
}

/** Everything that one update learns from: fresh attacks tried on the target, and replay. */
async function gather<E>(parts: GflownetParts<E>, options: GflownetOptions, update: number): Promise<Gathered<E>> {
  const { attacker, buffer } = parts;
  const { sampled, total, isTempered } = await sampleFresh(parts, options, update);
  const replayed = await replayRows(parts, options, update, total - sampled.length);
  const terms = await referenceTerms(attacker, parts.reference, sampled, options);
  const embeddings = await parts.embed?.(sampled.map(({ text }) => text));
  const results = await parts.reward(sampled.map(({ text }, row) => ({ text, streamName: ['response', update, row] })));
  const rows: Row<E>[] = [];
  const unscored: { text: string; tokens: readonly number[]; evidence: E }[] = [];
  const logReward = rewardOf(options, update);
  for (const [row, attack] of sampled.entries()) {
    const { score, evidence } = results[row] as (typeof results)[number];
    if (score === undefined) {
      unscored.push({ text: attack.text, tokens: attack.tokens, evidence });
      continue;
    }
    const embedding = embeddings?.[row];
    const { fluency, logPRef } = terms[row] as ReferenceTerms;
    const candidate = toCandidate(attack, fluency, score, update, embedding);
    buffer.insert(candidate, logReward);
    rows.push({ source: isTempered(row) ? 'tempered' : 'fresh', candidate, logPRef, evidence });
  }
  const attackTokens = sampled.reduce((sum, { tokens, terminated }) => sum + tokens.length + (terminated ? 1 : 0), 0);
  return { rows: [...rows, ...replayed], unscored, attackTokens };
}

/** An attack and what is known of its reward, for the buffer. */
export function toCandidate(
  attack: { readonly tokens: readonly number[]; readonly terminated: boolean; readonly text: string },
  fluency: number,
  score: JudgeScore,
  update: number,
  embedding?: Float32Array,
): ReplayCandidate {
  const { tokens, terminated, text } = attack;
  return {
    tokens,
    terminated,
    text,
    logPRef: fluency,
    ...score,
    addedAtUpdate: update,
    ...(embedding === undefined ? {} : { embedding }),
  };
}

/** Forward and backward of the whole update, in micro-batches; returns log pi of each row and log Z. */
async function differentiate<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  rows: readonly number[][],
  logRewards: number[],
) {
  const { attacker, policy } = parts;
  const { objective, batchSize } = options;
  const n = rows.length;
  policy.clearGradient();
  const step = (from: number, to: number, weights: StepWeights) =>
    policy.step(
      { prompt: attacker.prompt, rows: rows.slice(from, to) },
      { minTokens: attacker.spec.minTokens },
      Float32Array.from(logRewards.slice(from, to)),
      weights,
    );
  if (n <= batchSize) return step(0, n, singleBatchWeights(objective, logRewards));
  const gradient = await groupGradient(parts, options, rows, logRewards);
  const logProbs = new Float32Array(n);
  let logZ = 0;
  for (let from = 0; from < n; from += batchSize) {
    const to = Math.min(n, from + batchSize);
    const weights = directWeights(gradient?.slice(from, to) ?? new Float64Array(to - from));
    if (gradient === undefined) weights.rowWeight.fill(2 / n); // trajectory balance: rows are independent given log Z
    const result = await step(from, to, weights);
    logProbs.set(result.logProbs, from);
    logZ = result.logZ;
  }
  return { logProbs, logZ };
}

/** The group of VarGrad and CTB is the whole update: residuals first. Undefined where rows are independent. */
async function groupGradient<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  rows: readonly number[][],
  logRewards: number[],
) {
  if (options.objective.kind === 'tb') return undefined;
  const { attacker, policy } = parts;
  const logProbs: number[] = [];
  for (let from = 0; from < rows.length; from += options.batchSize) {
    const attacks = rows.slice(from, from + options.batchSize).map((row) => ({ tokens: row, terminated: false }));
    const scores = await attacker.score(attacker.stateOf(policy.parameters), attacks);
    logProbs.push(...scores.map((tokens) => tokens.reduce((sum, logProb) => sum + logProb, 0)));
  }
  return residualGradient(options.objective, logProbs, logRewards, 0);
}

function rateSegments(policy: PolicySession, options: GflownetOptions, update: number): RateSegment[] {
  const size = policy.gradient.length;
  const head = usesLogZ(options.objective)
    ? policy.parameters.specs.slice(-2).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    : 0;
  return [
    { start: 0, end: size - head, learningRate: learningRateAt(options.learningRate, update) },
    { start: size - head, end: size, learningRate: learningRateAt(options.logZLearningRate, update) },
  ];
}

function spread(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** One update: gather, differentiate, optimise, log. */
async function gflownetUpdate<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  run: GflownetRun<E>,
  update: number,
): Promise<UpdateOutcome> {
  const started = monotonicMs();
  const { attacker, policy, buffer } = parts;
  const gathered = await gather(parts, options, update);
  const logReward = rewardOf(options, update);
  const logRewards = gathered.rows.map(({ candidate }) => logReward(candidate));
  const tokenRows = gathered.rows.map(({ candidate }) => attacker.rowOf(candidate));
  const { logProbs, logZ } = await differentiate(parts, options, tokenRows, logRewards);
  const gradientNorm = clipGradient(policy.gradient, options.gradientClip);
  adamwUpdate(policy.parameters.data, policy.gradient, run.optimizer, rateSegments(policy, options, update), {
    ...ADAMW_DEFAULTS,
    weightDecay: options.weightDecay,
  });
  const rows = gathered.rows.map(
    ({ source, candidate, logPRef, evidence }, i): GflownetRow<E> => ({
      source,
      tokens: candidate.tokens,
      terminated: candidate.terminated,
      text: candidate.text,
      logPi: logProbs[i] as number,
      fluency: candidate.logPRef,
      ...(logPRef === undefined ? {} : { logPRef }),
      logReward: logRewards[i] as number,
      meanUnsafe: candidate.meanUnsafe,
      ...(evidence === undefined ? {} : { evidence }),
    }),
  );
  const counts = buffer.counts;
  const record: GflownetUpdate<E> = {
    update,
    loss: objectiveLoss(options.objective, logProbs, logRewards, logZ),
    logZ: usesLogZ(options.objective) ? logZ : undefined,
    residualSpread: spread(logRewards.map((reward, i) => (logProbs[i] as number) - reward)),
    gradientNorm,
    rows,
    unscored: gathered.unscored,
    attackTokens: gathered.attackTokens,
    bufferSize: buffer.size,
    nearDuplicates: counts.replaced + counts['near-duplicate-rejected'],
    seconds: (monotonicMs() - started) / 1000,
  };
  const stop = await run.onUpdate(record);
  return { note: liveLine(record), stop };
}

function liveLine<E>(record: GflownetUpdate<E>): string {
  const fresh = record.rows.filter(({ source }) => source === 'fresh'); // the policy's own distribution
  const mean = (pick: (row: GflownetRow<E>) => number): string =>
    fresh.length === 0 ? '-' : (fresh.reduce((sum, row) => sum + pick(row), 0) / fresh.length).toFixed(2);
  const balance =
    record.logZ === undefined ? `sd ${record.residualSpread.toFixed(2)}` : `logZ ${record.logZ.toFixed(2)}`;
  return [
    `loss ${record.loss.toFixed(2)}`,
    `logR ${mean((row) => row.logReward)}`,
    `ASR ${mean((row) => (row.meanUnsafe > 0.5 ? 1 : 0))}`,
    `log p_ref ${mean((row) => row.fluency)}`,
    balance,
    `buffer ${record.bufferSize} (${record.nearDuplicates} near)`,
    `${(record.attackTokens / record.seconds).toFixed(0)} tok/s`,
  ].join(', ');
}

/**
 * GFlowNet fine-tuning of the attacker (Lee et al. 2025, section 3.1): the policy is moved until it samples attacks in
 * proportion to their reward. Deviations from the paper are options: objectives other than TB, fluency forms, re-scoring.
 *
 * @returns updates done, fewer than planned when `onUpdate` ended the stage.
 */
export async function trainGflownet<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  run: GflownetRun<E>,
): Promise<number> {
  const state = {
    parameters: parts.policy.parameters,
    optimizer: run.optimizer,
    extra: () => ({ buffer: serialiseReplayBuffer(parts.buffer), caller: run.extra?.() ?? null }),
  };
  return runUpdates(run.control, state, { from: run.from, to: options.updates }, (update) =>
    gflownetUpdate(parts, options, run, update),
  );
}
