import { append } from '../../base/long-lists.ts';
import type { Attack, AttackTokens, RewardedAttack, SampledAttack, WithFields } from '../attack.ts';
import type { Attacker, AttackerState, DrawRequest } from '../attacker.ts';
import { type FluencyRule, fluencyTerm } from '../reward/fluency.ts';
import type { RewardFunction } from '../reward/reward.ts';

/** Rows sampled or scored at once: bounds the K/V cache and the logits. */
export const MAX_SAMPLED_ROWS = 64;

/** Draws one attack per request, a bounded number at once. */
export async function drawAttacks(
  attacker: Attacker,
  state: AttackerState,
  requests: readonly DrawRequest[],
): Promise<SampledAttack[]> {
  const drawn: SampledAttack[] = [];
  for (let start = 0; start < requests.length; start += MAX_SAMPLED_ROWS) {
    append(drawn, await attacker.sample(state, requests.slice(start, start + MAX_SAMPLED_ROWS)));
  }
  return drawn;
}

/** How the reference's log-probs of an attack enter the reward. */
export interface ReferenceRule {
  readonly fluency: FluencyRule;
  /** Adds log p_ref(end) to the fluency of an attack that was cut. */
  readonly truncationPenalty: boolean;
}

/** The reference's log-probs of an attack. */
export interface ReferenceOpinion {
  /** log p_ref of each factor [T]. */
  readonly tokenLogProbs: Float32Array;
  /** Their sum, nats, whatever the fluency form. */
  readonly logPRef: number;
  /** The term that enters the reward, nats. */
  readonly fluency: number;
}

/** The reference's opinion of each attack, in order. */
export async function consultReference(
  attacker: Attacker,
  reference: AttackerState,
  attacks: readonly AttackTokens[],
  rule: ReferenceRule,
): Promise<ReferenceOpinion[]> {
  const opinions: ReferenceOpinion[] = [];
  for (let start = 0; start < attacks.length; start += MAX_SAMPLED_ROWS) {
    const chunk = attacks.slice(start, start + MAX_SAMPLED_ROWS);
    const scores = await attacker.score(reference, chunk, rule.truncationPenalty);
    for (const [i, { tokens, terminated }] of chunk.entries()) {
      const all = scores[i] as Float32Array;
      const isCut = rule.truncationPenalty && !terminated;
      const own = isCut ? all.subarray(0, -1) : all;
      const term = fluencyTerm(rule.fluency, { tokenLogProbs: own, tokens: tokens.length });
      const logPRef = own.reduce((sum, logProb) => sum + logProb, 0);
      opinions.push({ tokenLogProbs: own, logPRef, fluency: isCut ? term + (all.at(-1) as number) : term });
    }
  }
  return opinions;
}

/** The attacks of one update after they were tried. */
export interface Rollouts<Known extends Attack, Evidence> {
  /** Those that a judge could score, in their order. */
  readonly scored: readonly (Known & RewardedAttack<Evidence> & WithFields<'logPRef' | 'evidence', Evidence>)[];
  /** Row of each scored attack among those tried. */
  readonly rows: readonly number[];
  /** Those that no judge could score: dropped from the update, stored and counted. */
  readonly unscored: readonly WithFields<'evidence', Evidence>[];
  /** The first reason why an attack could not be scored; undefined if none was given. */
  readonly reason: string | undefined;
}

/** Tries attacks on the target and splits them by whether a judge could score them. */
export async function tryRollouts<Known extends Attack, Evidence>(
  attacks: readonly Known[],
  opinions: readonly Pick<ReferenceOpinion, 'logPRef' | 'fluency'>[],
  reward: RewardFunction<Evidence>,
  streamNameOf: (row: number) => readonly (string | number)[],
): Promise<Rollouts<Known, Evidence>> {
  const results = await reward(attacks.map(({ text }, row) => ({ text, streamName: streamNameOf(row) })));
  const scored: (Known & RewardedAttack<Evidence> & WithFields<'logPRef' | 'evidence', Evidence>)[] = [];
  const rows: number[] = [];
  const unscored: WithFields<'evidence', Evidence>[] = [];
  for (const [row, attack] of attacks.entries()) {
    const { score, evidence } = results[row] as (typeof results)[number];
    const { logPRef, fluency } = opinions[row] as ReferenceOpinion;
    const tried = { ...attack, logPRef, fluency, evidence };
    if (score === undefined) {
      unscored.push(tried);
      continue;
    }
    scored.push({ ...tried, score });
    rows.push(row);
  }
  return { scored, rows, unscored, reason: results.find(({ reason }) => reason !== undefined)?.reason };
}

/** Tokens that the attacker wrote, end tokens included. */
export function writtenTokens(attacks: readonly AttackTokens[]): number {
  return attacks.reduce((sum, { tokens, terminated }) => sum + tokens.length + (terminated ? 1 : 0), 0);
}

/** The record of one update that learned from rewards. */
export interface TrainingUpdate<Evidence> {
  /** Counted from 0. */
  readonly update: number;
  /** Every row that the update learned from. */
  readonly rows: readonly WithFields<'logPi' | 'fluency' | 'score', Evidence>[];
  /** Fresh attacks that no judge could score. */
  readonly unscored: readonly Attack<Evidence>[];
  /** Tokens that the attacker wrote. */
  readonly attackTokens: number;
  /** The method's own numbers over the rows, by name. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Numbers of the loop's own state, by name. */
  readonly counts: Readonly<Record<string, number>>;
  readonly seconds: number;
}
