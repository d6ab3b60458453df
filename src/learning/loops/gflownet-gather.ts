import { FloodgateError } from '../../base/errors.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { Attack, RewardedAttack } from '../attack.ts';
import type { Attacker, AttackerState, DrawRequest } from '../attacker.ts';
import { type ScreenRule, screen, surrogateValue } from '../proposals/screen.ts';
import type { Surrogate } from '../proposals/surrogate.ts';
import { drawMixed, type MixRule } from '../replay/mixed-draw.ts';
import type { ReplayBuffer } from '../replay/replay-buffer.ts';
import type { LogRewardOf, ReplayCandidate, ReplayEntry } from '../replay/replay-entry.ts';
import type { WordingClusters } from '../replay/wording-clusters.ts';
import { isUnsafe, logRewardAt, type RewardFunction, type RewardRule } from '../reward/reward.ts';
import { type SpreadRule, type SuccessPool, spreadTerm } from '../reward/spread.ts';
import type { AskedBatches, BatchReward, DrawnAttack, TriedBatch } from './asked-batches.ts';
import { drawAttacks, type ReferenceRule, writtenTokens } from './rollout.ts';

/** How an update gets its rows. */
export interface GatherOptions extends ReferenceRule {
  /** Rows of one micro-batch. */
  readonly batchSize: number;
  /** Micro-batches of one update. */
  readonly accumulation: number;
  readonly reward: RewardRule;
  /** Share of each update that the attacker writes; the rest is replay. */
  readonly freshShare: number;
  /** Share of the fresh attacks drawn at a temperature from U(low, high). */
  readonly temperedShare: number;
  readonly temperatures: { readonly low: number; readonly high: number };
  /** Share of the fresh attacks that rewrite a success of the buffer (see `rewriteRequests`). */
  readonly rewriteShare: number;
  /** Probability that a token of the success is drawn from the policy. */
  readonly rewriteChange: number;
  /** Updates of the whole stage. */
  readonly updates: number;
  /** Updates for each batch of fresh attacks; all but the first learn from the buffer alone. */
  readonly updatesPerBatch: number;
  /** Batches of fresh attacks that are asked ahead: their answers arrive during later updates. */
  readonly askedAhead: number;
  /** Absent: the reward as it is. */
  readonly spread?: SpreadRule;
  /** Absent: every attack that is drawn is tried. */
  readonly screen?: ScreenRule;
  readonly replayBy: 'judge' | 'reward' | 'uniform';
  /** Draws replay by several shares in place of `replayBy`; needs `GflownetParts.clusters`. */
  readonly mix?: MixRule;
  /** New responses for replayed attacks; their scores average over all responses so far. */
  readonly rescoreReplay: boolean;
  readonly seed: number;
}

export interface GflownetParts<Evidence> {
  readonly attacker: Attacker;
  readonly policy: PolicySession;
  /** The frozen reference p_ref. */
  readonly reference: AttackerState;
  readonly buffer: ReplayBuffer;
  readonly reward: RewardFunction<Evidence>;
  /** The reward of a fresh batch. */
  readonly openReward: () => BatchReward<Evidence>;
  /** Batches whose answers are under way. */
  readonly asked: AskedBatches<Evidence>;
  /** The successes so far, when the reward is spread over ways. */
  readonly pool?: SuccessPool;
  /** The buffer's successes by wording, for a mixed draw. */
  readonly clusters?: WordingClusters;
  /** Predicts scores from the attacks tried so far, when they are screened. */
  readonly surrogate?: Surrogate;
  /** Embeds texts, for a buffer that finds near-duplicates by cosine, for the pool and for the surrogate. */
  readonly embed?: (texts: readonly string[]) => Promise<Float32Array[]>;
}

/** log R of attacks under the schedules of one update; spread over ways where the attacks' neighbours were counted. */
export function rewardOf(options: Pick<GatherOptions, 'reward' | 'spread'>, update: number): LogRewardOf {
  const logReward = logRewardAt(options.reward, update);
  const { spread } = options;
  return ({ fluency, score, neighbours }) => {
    const plain = logReward(fluency, score.logS);
    return spread === undefined || neighbours === undefined ? plain : plain + spreadTerm(spread, neighbours);
  };
}

/**
 * Requests that rewrite successes of the buffer, at most `count`: each token of a success is kept with probability
 * 1 - `rewriteChange` and drawn from the policy otherwise, as is everything after its end (Kim et al. 2025, delta-CS).
 * The objective is off-policy, so the stated distribution stays the same.
 */
function rewriteRequests<E>(
  { buffer }: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  count: number,
): DrawRequest[] {
  if (count === 0) return [];
  const stream = randomStream(options.seed, 'rewritten', update);
  const drawn = buffer.sample(count, { by: 'judge', logReward: rewardOf(options, update), stream });
  const parents = drawn.filter(({ score }) => isUnsafe(score.meanUnsafe));
  return parents.map(({ tokens }, row) => {
    const own = randomStream(options.seed, 'rewrite', update, row);
    const kept = tokens.map((token) => (own.nextFloat() < options.rewriteChange ? undefined : token));
    return { stream: own, temperature: 1, kept };
  });
}

/** A fresh attack; embedding and prediction where it was screened. */
type FreshAttack = DrawnAttack & { readonly embedding?: Float32Array };

/** Attacks drawn for `slots` slots, the last `tempered` of them tempered; with several candidates a slot, screened. */
async function drawSlots<E>(
  { attacker, policy, surrogate, embed }: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  { slots, tempered }: { readonly slots: number; readonly tempered: number },
): Promise<FreshAttack[]> {
  const { low, high } = options.temperatures;
  const { screen: rule, seed } = options;
  const isTempered = (row: number): boolean => row % slots >= slots - tempered;
  const requests = Array.from({ length: slots * (rule?.candidates ?? 1) }, (_, row) => {
    const stream: RandomStream = randomStream(seed, 'attack', update, row);
    return { stream, temperature: isTempered(row) ? low + (high - low) * stream.nextFloat() : 1 };
  });
  const sampled = await drawAttacks(attacker, attacker.stateOf(policy.parameters), requests);
  const drawn = sampled.map((attack, row) => ({ ...attack, source: isTempered(row) ? 'tempered' : 'fresh' }) as const);
  if (rule === undefined || surrogate === undefined || embed === undefined) return drawn.map((attack) => ({ attack }));
  const embeddings = await embed(drawn.map(({ text }) => text));
  const candidates = drawn.map((attack, i) => ({ attack, embedding: embeddings[i] as Float32Array }));
  return screen(candidates, surrogate, rule, { count: slots, seed, update });
}

/** Fresh attacks of one update: some at temperature 1, some tempered, some rewritten; each from its own stream. */
async function sampleFresh<E>(parts: GflownetParts<E>, options: GatherOptions, update: number): Promise<FreshAttack[]> {
  const { attacker, policy } = parts;
  const count = Math.max(1, Math.round(options.batchSize * options.accumulation * options.freshShare));
  const rewrites = rewriteRequests(parts, options, update, Math.round(count * options.rewriteShare));
  const slots = count - rewrites.length;
  const tempered = Math.min(slots, Math.round(count * options.temperedShare));
  const fresh = slots === 0 ? [] : await drawSlots(parts, options, update, { slots, tempered });
  if (rewrites.length === 0) return fresh;
  const rewritten = await drawAttacks(attacker, attacker.stateOf(policy.parameters), rewrites);
  return [...fresh, ...rewritten.map((attack) => ({ attack: { ...attack, source: 'rewritten' as const } }))];
}

function drawReplay<E>(
  { buffer, clusters }: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  count: number,
): ReplayEntry[] {
  const stream = randomStream(options.seed, 'replay', update);
  const { mix, replayBy: by } = options;
  if (mix !== undefined && clusters !== undefined) return drawMixed(buffer, clusters, mix, { count, stream });
  return buffer.sample(count, { by, logReward: rewardOf(options, update), stream });
}

/**
 * Draws the replayed rows; `rescoreReplay` averages new responses into their scores. The buffer changes only when the
 * returned function is called: an update that is interrupted before leaves no trace.
 */
async function replayRows<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  count: number,
): Promise<() => RewardedAttack<E>[]> {
  const { buffer, reward, pool } = parts;
  const drawn = drawReplay(parts, options, update, count);
  const replayed = (entry: ReplayEntry, evidence: { readonly evidence?: E }): RewardedAttack<E> => {
    const { id: _id, embedding, addedAtUpdate: _added, evidence: _earlier, logPRef: _known, ...attack } = entry;
    return { ...attack, source: 'replay', ...neighboursOf(pool, options, embedding), ...evidence };
  };
  if (!options.rescoreReplay || drawn.length === 0) return () => drawn.map((entry) => replayed(entry, {}));
  const results = await reward(drawn.map(({ text }, row) => ({ text, streamName: ['rescore', update, row] })));
  return () =>
    drawn.map((entry, i) => {
      const { score, evidence } = results[i] as (typeof results)[number];
      if (score !== undefined) buffer.rescore(entry.id, score);
      return replayed(buffer.get(entry.id) as ReplayEntry, { evidence });
    });
}

/** The successes near an attack, counted again at each use; nothing without a pool. */
function neighboursOf(
  pool: SuccessPool | undefined,
  { spread }: Pick<GatherOptions, 'spread'>,
  embedding: Float32Array | undefined,
): { readonly neighbours?: number } {
  if (pool === undefined || spread === undefined || embedding === undefined) return {};
  return { neighbours: pool.near(embedding, spread.cosine) };
}

/** An attack that was tried, with what is known beside it. */
export interface TriedAttack<Known> {
  readonly attack: Known;
  /** Where the buffer, the pool or the surrogate needs it. */
  readonly embedding: Float32Array | undefined;
  /** The score that the surrogate expected. */
  readonly prediction?: number | undefined;
}

/** Puts tried attacks into the buffer and teaches the surrogate; successes join the pool. Returns them with neighbours. */
export function keepAttacks<E, Known extends RewardedAttack<E>>(
  { buffer, pool, surrogate }: Pick<GflownetParts<E>, 'buffer' | 'pool' | 'surrogate'>,
  options: Pick<GatherOptions, 'reward' | 'spread'>,
  update: number,
  tried: readonly TriedAttack<Known>[],
): Known[] {
  const logReward = rewardOf(options, update);
  for (const { attack, embedding, prediction } of tried) {
    buffer.insert(toCandidate(attack, update, embedding), logReward);
    if (embedding === undefined) continue;
    if (isUnsafe(attack.score.meanUnsafe)) pool?.add(attack.text, embedding);
    if (prediction !== undefined) surrogate?.observe(prediction, surrogateValue(attack.score));
    surrogate?.learn(embedding, surrogateValue(attack.score));
  }
  return tried.map(({ attack, embedding }) => ({ ...attack, ...neighboursOf(pool, options, embedding) }));
}

/** An attack and the parts of its reward, for the buffer. */
export function toCandidate(attack: RewardedAttack, update: number, embedding?: Float32Array): ReplayCandidate {
  const { evidence: _evidence, logPi: _logPi, neighbours: _neighbours, ...known } = attack;
  return { ...known, addedAtUpdate: update, ...(embedding === undefined ? {} : { embedding }) };
}

export interface Gathered<E> {
  /** Scored fresh attacks, then replayed ones. */
  readonly rows: readonly RewardedAttack<E>[];
  readonly unscored: readonly Attack<E>[];
  readonly attackTokens: number;
}

/** Draws the fresh attacks of an update and asks the target about them. */
async function askFresh<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  { update, attacks }: { readonly update: number; readonly attacks: readonly FreshAttack[] },
): Promise<void> {
  const drawn = { update, attacks: attacks.map(({ attack, prediction }) => ({ attack, prediction })) };
  // A resume embeds again what was under way: only a batch that is taken at once may keep its embeddings.
  const isKnown = options.askedAhead === 0 && attacks.every(({ embedding }) => embedding !== undefined);
  await parts.asked.ask(parts, options, drawn, isKnown ? attacks.map(({ embedding }) => embedding) : undefined);
}

/** How many of the batches under way an update waits for: all that are not asked ahead, and at the end of the stage all. */
function batchesDue<E>({ asked, buffer }: GflownetParts<E>, options: GatherOptions, update: number, drawn: number) {
  const all = asked.underWay.length + drawn;
  const isLast = update === options.updates - 1;
  return isLast || buffer.size === 0 ? all : Math.max(0, all - options.askedAhead);
}

/**
 * Everything that one update learns from: fresh attacks tried on the target, and replay. Updates between two batches
 * (`updatesPerBatch`) ask nobody: replay is all they have. With `askedAhead`, an update learns from the attacks of an
 * earlier one while its own are asked.
 *
 * @throws FloodgateError `judge` when no fresh attack could be scored and there is nothing to replay.
 */
export async function gather<E>(parts: GflownetParts<E>, options: GatherOptions, update: number): Promise<Gathered<E>> {
  const { buffer, asked } = parts;
  const isBatch = update % options.updatesPerBatch === 0 || (buffer.size === 0 && asked.underWay.length === 0);
  const fresh = isBatch ? await sampleFresh(parts, options, update) : [];
  const due = batchesDue(parts, options, update, isBatch ? 1 : 0);
  const sizes = [...asked.underWay.map(({ attacks }) => attacks.length), fresh.length];
  const dueAttacks = sizes.slice(0, due).reduce((sum, size) => sum + size, 0);
  const total = options.batchSize * options.accumulation;
  const replay = await replayRows(parts, options, update, Math.max(0, total - dueAttacks));
  if (isBatch) await askFresh(parts, options, { update, attacks: fresh });
  try {
    const batches = await asked.take(due);
    return rowsOf(parts, options, update, { batches, replayed: replay(), fresh });
  } catch (error) {
    if (isBatch) asked.retract();
    throw error;
  }
}

function rowsOf<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  {
    batches,
    replayed,
    fresh,
  }: {
    readonly batches: readonly TriedBatch<E>[];
    readonly replayed: readonly RewardedAttack<E>[];
    readonly fresh: readonly FreshAttack[];
  },
): Gathered<E> {
  const known = batches.flatMap(({ drawn, tried, embeddings }) =>
    tried.scored.map((attack, i) => {
      const row = tried.rows[i] as number;
      return { attack, embedding: embeddings?.[row], prediction: drawn.attacks[row]?.prediction };
    }),
  );
  const scored = keepAttacks(parts, options, update, known);
  if (scored.length + replayed.length === 0) {
    const reason = batches.find(({ tried }) => tried.reason !== undefined)?.tried.reason ?? 'no reason was given';
    throw new FloodgateError(
      'judge',
      `update ${update}: none of its ${fresh.length} attacks could be scored: ${reason}`,
      { hint: 'fix judges.training or the target; attacks so far are saved' },
    );
  }
  return {
    rows: [...scored, ...replayed],
    unscored: batches.flatMap(({ tried }) => tried.unscored),
    attackTokens: writtenTokens(fresh.map(({ attack }) => attack)),
  };
}
