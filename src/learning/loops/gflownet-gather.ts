import { FloodgateError } from '../../base/errors.ts';
import { randomStream } from '../../base/random.ts';
import type { Attack, RewardedAttack } from '../attack.ts';
import { surrogateValue } from '../proposals/screen.ts';
import { drawMixed } from '../replay/mixed-draw.ts';
import type { ReplayCandidate, ReplayEntry } from '../replay/replay-entry.ts';
import { isUnsafe } from '../reward/reward.ts';
import type { SuccessPool } from '../reward/spread.ts';
import type { TriedBatch } from './asked-batches.ts';
import { askFresh, type FreshAttack, sampleFresh } from './fresh-attacks.ts';
import { type GatherOptions, type GflownetParts, rewardOf } from './gflownet-parts.ts';
import { writtenTokens } from './rollout.ts';

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
