import type { JudgeScore } from './reward/reward.ts';

/** Where an attack came from. Only `fresh` and `evaluation` are samples of the attacker at temperature 1. */
export type AttackSource =
  | 'fresh'
  | 'tempered'
  | 'rewritten'
  | 'screened'
  | 'replay'
  | 'seed'
  | 'reference'
  | 'collected'
  | 'evaluation'
  | 'control'
  | 'cause'
  | 'transfer';

/** A text as the attacker's own token ids. */
export interface AttackTokens {
  /** Without the end token. */
  readonly tokens: readonly number[];
  /** Whether the end token was written; false when the attack was cut at the maximum length. */
  readonly terminated: boolean;
  /** The cell whose prompt it continues; absent for an attacker without cells. */
  readonly cell?: string;
}

/**
 * One attack, from sampling to the database. Fields are added on the way and never change their meaning; a field that
 * is absent was not measured. `Evidence` is what asking the target left behind.
 */
export interface Attack<Evidence = unknown> extends AttackTokens {
  readonly source: AttackSource;
  readonly text: string;
  /** log pi at temperature 1 under the sampler's bans, nats, whatever temperature drew it. */
  readonly logPi?: number;
  /** log p_ref over the sampler's factors, nats. */
  readonly logPRef?: number;
  /** The reference's term of the reward, nats: log p_ref as `reward.fluency` shapes it. */
  readonly fluency?: number;
  /** Absent when no judge could score a response. */
  readonly score?: JudgeScore;
  /** Distinct successes near it at its update, itself included; absent unless the reward is spread over ways. */
  readonly neighbours?: number;
  /** log R under the schedules of its update, nats. */
  readonly logReward?: number;
  /** The parts that a policy gradient's reward is the sum of. */
  readonly terms?: Readonly<Record<string, number>>;
  readonly evidence?: Evidence;
}

/** An attack with the fields `Known` measured. */
export type WithFields<Known extends keyof Attack, Evidence = unknown> = Attack<Evidence> &
  Required<Pick<Attack<Evidence>, Known>>;

/** An attack as its policy sampled it. */
export type SampledAttack = WithFields<'logPi'>;

/** An attack with all that its reward is made from. */
export type RewardedAttack<Evidence = unknown> = WithFields<'fluency' | 'score', Evidence>;
