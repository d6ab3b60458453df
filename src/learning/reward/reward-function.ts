import type { JudgeScore } from './reward.ts';

/** An attack to be tried, and the name under which its responses draw their randomness. */
export interface RewardRequest {
  readonly text: string;
  readonly streamName: readonly (string | number)[];
}

/** What trying an attack brought; `evidence` is whatever the caller wants back in the log (responses, verdicts). */
export interface RewardResult<Evidence> {
  /** Undefined when no response could be scored: the attack gives no reward, never 0, and is counted. */
  readonly score: JudgeScore | undefined;
  readonly evidence: Evidence;
  /** Why there is no score, for messages. */
  readonly reason?: string;
}

/** Training sees this, never a target or a judge. One result a request, in order. */
export type RewardFunction<Evidence> = (requests: readonly RewardRequest[]) => Promise<RewardResult<Evidence>[]>;
