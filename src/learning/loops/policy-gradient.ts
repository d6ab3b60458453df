import { randomStream } from '../../base/random.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import type { LearningRateRule } from '../../engine/optimizer/schedules.ts';
import type { Attack, SampledAttack, WithFields } from '../attack.ts';
import { type Attacker, type AttackerState, cellInTurn } from '../attacker.ts';
import { isUnsafe, logRewardAt, type RewardFunction, type RewardRule } from '../reward/reward.ts';
import {
  consultReference,
  drawAttacks,
  type ReferenceRule,
  type TrainingUpdate,
  tryRollouts,
  writtenTokens,
} from './rollout.ts';

/** How a policy gradient turns the judge's score into a reward. */
export type ScoreRule =
  /** Mean P(unsafe), 0..1. */
  | { readonly kind: 'mean-unsafe' }
  /** log S / beta, nats. */
  | { readonly kind: 'log-s'; readonly beta: number }
  /** log R of the GFlowNet, fluency and schedules included, nats. */
  | { readonly kind: 'log-r'; readonly reward: RewardRule };

/** Options that REINFORCE and PPO share. Every update's attacks are fresh and drawn at temperature 1. */
export interface PolicyGradientOptions extends ReferenceRule {
  readonly updates: number;
  /** Attacks of one update. */
  readonly batchSize: number;
  /** Rows of one pass; the gradients of an update add up over its passes. */
  readonly microBatchSize: number;
  readonly learningRate: LearningRateRule;
  readonly gradientClip: number;
  readonly weightDecay: number;
  readonly score: ScoreRule;
  readonly seed: number;
}

export interface PolicyGradientParts<Evidence> {
  readonly attacker: Attacker;
  /** The frozen reference p_ref. */
  readonly reference: AttackerState;
  readonly reward: RewardFunction<Evidence>;
}

/** One update of a policy gradient. Each row has the terms that its reward is the sum of. */
export interface PolicyGradientUpdate<Evidence> extends TrainingUpdate<Evidence> {
  readonly rows: readonly WithFields<'logPi' | 'logPRef' | 'fluency' | 'score' | 'terms', Evidence>[];
}

/** One fresh attack that was tried and could be scored. */
export interface Rollout<E> {
  readonly attack: WithFields<'logPi' | 'logPRef' | 'fluency' | 'score', E>;
  /** Its factors as token ids: the end token among them when it was written. */
  readonly row: readonly number[];
  /** log p_ref of each factor. */
  readonly referenceLogProbs: Float32Array;
}

export interface PolicyRollouts<E> {
  readonly rollouts: readonly Rollout<E>[];
  readonly unscored: readonly Attack<E>[];
  readonly attackTokens: number;
}

/**
 * The attacks of one update, of the cell whose turn it is: drawn from the policy itself at temperature 1, each from its own stream, scored under the
 * reference and tried on the target. `stage` is the first part of every stream's name.
 */
export async function rollOut<E>(
  { attacker, reference, reward }: PolicyGradientParts<E>,
  parameters: ParameterVector,
  options: PolicyGradientOptions,
  { stage, update }: { readonly stage: string; readonly update: number },
): Promise<PolicyRollouts<E>> {
  const cell = cellInTurn(attacker.cells, update);
  const requests = Array.from({ length: options.batchSize }, (_, row) => ({
    stream: randomStream(options.seed, stage, 'attack', update, row),
    temperature: 1,
    ...cell,
  }));
  const sampled = await drawAttacks(attacker, attacker.stateOf(parameters), requests);
  const opinions = await consultReference(attacker, reference, sampled, options);
  const tried = await tryRollouts<SampledAttack, E>(sampled, opinions, reward, (row) => [
    stage,
    'response',
    update,
    row,
  ]);
  const rollouts = tried.scored.map((attack, i) => ({
    attack,
    row: attacker.rowOf(attack),
    referenceLogProbs: opinions[tried.rows[i] as number]?.tokenLogProbs as Float32Array,
  }));
  return { rollouts, unscored: tried.unscored, attackTokens: writtenTokens(sampled) };
}

export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

/**
 * Metrics that every method reports of an update's attacks: KL to the reference in nats per attack, entropy in nats per
 * token.
 */
export function rolloutMetrics(rollouts: readonly Rollout<unknown>[]): {
  readonly kl: number;
  readonly entropy: number;
} {
  const tokens = rollouts.reduce((sum, { row }) => sum + row.length, 0);
  const logPi = rollouts.reduce((sum, { attack }) => sum + attack.logPi, 0);
  return {
    kl: meanOf(rollouts.map(({ attack }) => attack.logPi - attack.logPRef)),
    entropy: -logPi / Math.max(1, tokens),
  };
}

/** The reward for the judge's score of a rollout at `update`. */
export function scoreOf(rule: ScoreRule, { attack }: Rollout<unknown>, update: number): number {
  const { score, fluency } = attack;
  switch (rule.kind) {
    case 'mean-unsafe':
      return score.meanUnsafe;
    case 'log-s':
      return score.logS / rule.beta;
    case 'log-r':
      return logRewardAt(rule.reward, update)(fluency, score.logS);
  }
}

/** The live line beside the progress bar. */
export function policyGradientNote<E>({ rows, metrics, attackTokens, seconds }: PolicyGradientUpdate<E>): string {
  const asr = meanOf(rows.map(({ score }) => (isUnsafe(score.meanUnsafe) ? 1 : 0)));
  const shown = (value: number | undefined): string => (rows.length === 0 ? '-' : (value?.toFixed(2) ?? '-'));
  return [
    `reward ${shown(metrics.reward)}`,
    `ASR ${shown(asr)}`,
    `KL ${metrics.kl?.toFixed(2) ?? '-'}`,
    `${(attackTokens / seconds).toFixed(0)} tok/s`,
  ].join(', ');
}
