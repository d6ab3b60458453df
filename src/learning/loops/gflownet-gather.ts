import { FloodgateError } from '../../base/errors.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { Attack, RewardedAttack, SampledAttack } from '../attack.ts';
import type { Attacker, AttackerState } from '../attacker.ts';
import type { ReplayBuffer } from '../replay/replay-buffer.ts';
import type { LogRewardOf, ReplayCandidate, ReplayEntry } from '../replay/replay-entry.ts';
import { logRewardAt, type RewardFunction, type RewardRule } from '../reward/reward.ts';
import { consultReference, drawAttacks, type ReferenceRule, tryRollouts, writtenTokens } from './rollout.ts';

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
  readonly replayBy: 'judge' | 'reward' | 'uniform';
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
  /** Embeds texts when the buffer finds near-duplicates by cosine. */
  readonly embed?: (texts: readonly string[]) => Promise<Float32Array[]>;
}

/** log R of attacks under the schedules of one update. */
export function rewardOf(options: Pick<GatherOptions, 'reward'>, update: number): LogRewardOf {
  const logReward = logRewardAt(options.reward, update);
  return ({ fluency, score }) => logReward(fluency, score.logS);
}

/** Fresh attacks of one update: some at temperature 1, the rest tempered, each from its own stream. */
async function sampleFresh<E>(
  { attacker, policy }: GflownetParts<E>,
  options: GatherOptions,
  update: number,
): Promise<SampledAttack[]> {
  const count = Math.max(1, Math.round(options.batchSize * options.accumulation * options.freshShare));
  const tempered = Math.round(count * options.temperedShare);
  const { low, high } = options.temperatures;
  const requests = Array.from({ length: count }, (_, row) => {
    const stream: RandomStream = randomStream(options.seed, 'attack', update, row);
    return { stream, temperature: row < count - tempered ? 1 : low + (high - low) * stream.nextFloat() };
  });
  const sampled = await drawAttacks(attacker, attacker.stateOf(policy.parameters), requests);
  return sampled.map((attack, row) => ({ ...attack, source: row < count - tempered ? 'fresh' : 'tempered' }));
}

/** Replayed rows; `rescoreReplay` averages new responses into their scores. */
async function replayRows<E>(
  { buffer, reward }: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  count: number,
): Promise<RewardedAttack<E>[]> {
  const stream = randomStream(options.seed, 'replay', update);
  const drawn = buffer.sample(count, { by: options.replayBy, logReward: rewardOf(options, update), stream });
  const replayed = (entry: ReplayEntry, evidence: { readonly evidence?: E }): RewardedAttack<E> => {
    const {
      id: _id,
      embedding: _embedding,
      addedAtUpdate: _added,
      evidence: _earlier,
      logPRef: _known,
      ...attack
    } = entry;
    return { ...attack, source: 'replay', ...evidence };
  };
  if (!options.rescoreReplay || drawn.length === 0) return drawn.map((entry) => replayed(entry, {}));
  const results = await reward(drawn.map(({ text }, row) => ({ text, streamName: ['rescore', update, row] })));
  return drawn.map((entry, i) => {
    const { score, evidence } = results[i] as (typeof results)[number];
    if (score !== undefined) buffer.rescore(entry.id, score);
    return replayed(buffer.get(entry.id) as ReplayEntry, { evidence });
  });
}

/** An attack and the parts of its reward, for the buffer. */
export function toCandidate(attack: RewardedAttack, update: number, embedding?: Float32Array): ReplayCandidate {
  const { evidence: _evidence, logPi: _logPi, ...known } = attack;
  return { ...known, addedAtUpdate: update, ...(embedding === undefined ? {} : { embedding }) };
}

export interface Gathered<E> {
  /** Scored fresh attacks, then replayed ones. */
  readonly rows: readonly RewardedAttack<E>[];
  readonly unscored: readonly Attack<E>[];
  readonly attackTokens: number;
}

/**
 * Everything that one update learns from: fresh attacks tried on the target, and replay.
 *
 * @throws FloodgateError `judge` when no fresh attack could be scored and there is nothing to replay.
 */
export async function gather<E>(parts: GflownetParts<E>, options: GatherOptions, update: number): Promise<Gathered<E>> {
  const { attacker, buffer } = parts;
  const sampled = await sampleFresh(parts, options, update);
  const total = options.batchSize * options.accumulation;
  const replayed = await replayRows(parts, options, update, total - sampled.length);
  const opinions = await consultReference(attacker, parts.reference, sampled, options);
  const embeddings = await parts.embed?.(sampled.map(({ text }) => text));
  const tried = await tryRollouts(sampled, opinions, parts.reward, (row) => ['response', update, row]);
  const logReward = rewardOf(options, update);
  for (const [i, attack] of tried.scored.entries()) {
    buffer.insert(toCandidate(attack, update, embeddings?.[tried.rows[i] as number]), logReward);
  }
  if (tried.scored.length + replayed.length === 0) {
    throw new FloodgateError(
      'judge',
      `update ${update}: none of its ${sampled.length} attacks could be scored: ${tried.reason ?? 'no reason was given'}`,
      { hint: 'fix judges.training or the target; attacks so far are saved' },
    );
  }
  return { rows: [...tried.scored, ...replayed], unscored: tried.unscored, attackTokens: writtenTokens(sampled) };
}
