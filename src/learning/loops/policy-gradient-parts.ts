import type { AdamWState } from '../../engine/optimizer/adamw.ts';
import type { LearningRateRule } from '../../engine/optimizer/learning-rate.ts';
import type { Attacker, AttackerState } from '../attacker.ts';
import type { FluencyRule } from '../reward/fluency.ts';
import type { RewardRule } from '../reward/reward.ts';
import type { RewardFunction } from '../reward/reward-function.ts';
import type { LoopControl } from './update-loop.ts';

/** What the judge's score is worth to a method of reinforcement learning. */
export type ScoreRule =
  /** Mean P(unsafe), 0..1. */
  | { readonly kind: 'mean-unsafe' }
  /** log S / beta, nats. */
  | { readonly kind: 'log-s'; readonly beta: number }
  /** log R of the GFlowNet, fluency and schedules included, nats. */
  | { readonly kind: 'log-r'; readonly reward: RewardRule; readonly fluency: FluencyRule };

/** What REINFORCE and PPO have in common. Every update's attacks are fresh and drawn at temperature 1. */
export interface PolicyGradientOptions {
  readonly updates: number;
  /** Attacks of one update. */
  readonly batchSize: number;
  /** Rows of one pass: gradients of an update add up over passes. */
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

/** One attack of an update, as it is logged. */
export interface PolicyGradientRow<Evidence> {
  readonly tokens: readonly number[];
  readonly terminated: boolean;
  readonly text: string;
  readonly logPi: number;
  readonly logPRef: number;
  /** The attack's reward before KL penalty and entropy bonus. */
  readonly reward: number;
  /** What the reward is the sum of. */
  readonly terms: Readonly<Record<string, number>>;
  readonly meanUnsafe: number;
  readonly evidence: Evidence;
}

export interface PolicyGradientUpdate<Evidence> {
  readonly update: number;
  readonly rows: readonly PolicyGradientRow<Evidence>[];
  /** Attacks that no judge could score: dropped from the update. */
  readonly unscored: readonly {
    readonly text: string;
    readonly tokens: readonly number[];
    readonly evidence: Evidence;
  }[];
  /** Tokens written by the attacker. */
  readonly attackTokens: number;
  /** The method's own numbers, by name. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly seconds: number;
}

export interface PolicyGradientRun<Evidence> {
  readonly control: LoopControl;
  readonly from: number;
  readonly optimizer: AdamWState;
  /** JSON-safe state of the caller that belongs into each checkpoint. */
  extra?(): unknown;
  /** Called after each update; returning true ends the stage. */
  onUpdate(update: PolicyGradientUpdate<Evidence>): Promise<boolean>;
}

/** The line beside the bar. */
export function policyGradientNote<E>(record: PolicyGradientUpdate<E>): string {
  const { rows, metrics } = record;
  const mean = (pick: (row: PolicyGradientRow<E>) => number): string =>
    rows.length === 0 ? '-' : (rows.reduce((sum, row) => sum + pick(row), 0) / rows.length).toFixed(2);
  return [
    `reward ${mean(({ reward }) => reward)}`,
    `ASR ${mean(({ meanUnsafe }) => (meanUnsafe > 0.5 ? 1 : 0))}`,
    `KL ${metrics.kl?.toFixed(2) ?? '-'}`,
    `${(record.attackTokens / record.seconds).toFixed(0)} tok/s`,
  ].join(', ');
}
