import { FloodgateError } from '../../base/errors.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import type { Attacker, AttackerState, SampledAttack } from '../attacker.ts';
import type { LogRewardOf, ReplayCandidate, ReplayEntry } from '../replay/replay-entry.ts';
import { type FluencyRule, fluencyTerm } from '../reward/fluency.ts';
import { type JudgeScore, logRewardAt } from '../reward/reward.ts';
import type { GflownetOptions, GflownetParts, GflownetRow, GflownetUpdate } from './gflownet-parts.ts';

/** A row before it is learnt from. */
export interface GatheredRow<Evidence> {
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

/** log R of stored attacks under the schedules of one update. */
export function rewardOf(options: GflownetOptions, update: number): LogRewardOf {
  const logReward = logRewardAt(options.reward, update);
  return (entry) => logReward(entry.logPRef, entry.logS);
}

/** Replayed rows, with new responses averaged in when asked for. */
async function replayRows<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  update: number,
  count: number,
): Promise<GatheredRow<E>[]> {
  const stream = randomStream(options.seed, 'replay', update);
  const logReward = rewardOf(options, update);
  const drawn = parts.buffer.sample(count, { by: options.replayBy, logReward, stream });
  if (!options.rescoreReplay || drawn.length === 0) return drawn.map((candidate) => ({ source: 'replay', candidate }));
  const results = await parts.reward(drawn.map(({ text }, row) => ({ text, streamName: ['rescore', update, row] })));
  return drawn.map((entry, i): GatheredRow<E> => {
    const { score, evidence } = results[i] as (typeof results)[number];
    if (score !== undefined) parts.buffer.rescore(entry.id, score);
    return { source: 'replay', candidate: parts.buffer.get(entry.id) as ReplayEntry, evidence };
  });
}

export interface Gathered<E> {
  readonly rows: GatheredRow<E>[];
  readonly unscored: GflownetUpdate<E>['unscored'];
  readonly attackTokens: number;
}

/**
 * Everything that one update learns from: fresh attacks tried on the target, and replay.
 *
 * @throws FloodgateError `judge` when no fresh attack could be scored and there is nothing to replay.
 */
export async function gather<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  update: number,
): Promise<Gathered<E>> {
  const { attacker, buffer } = parts;
  const { sampled, total, isTempered } = await sampleFresh(parts, options, update);
  const replayed = await replayRows(parts, options, update, total - sampled.length);
  const terms = await referenceTerms(attacker, parts.reference, sampled, options);
  const embeddings = await parts.embed?.(sampled.map(({ text }) => text));
  const results = await parts.reward(sampled.map(({ text }, row) => ({ text, streamName: ['response', update, row] })));
  const rows: GatheredRow<E>[] = [];
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
  if (rows.length + replayed.length === 0) {
    const why = results.find(({ reason }) => reason !== undefined)?.reason ?? 'no reason was given';
    throw new FloodgateError(
      'judge',
      `update ${update}: none of its ${sampled.length} attacks could be scored: ${why}`,
      {
        hint: 'mend the judge that rewards (judges.training) or the target; every attack before is kept',
      },
    );
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
