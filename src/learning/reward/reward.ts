import { type LinearSchedule, scheduleAt } from '../../engine/optimizer/schedule.ts';

export interface RewardRule {
  /** Weight of the judge: log S enters as log S / beta. */
  readonly beta: number;
  /** The fluency term enters as term / gamma. */
  readonly gamma: LinearSchedule;
  /** Reward temperature T. */
  readonly temperature: LinearSchedule;
}

/**
 * log R under the schedules of one update (Lee et al. 2025, eq. 2):
 * logR = 1/T_k * [ fluency / gamma_k + logS / beta ]. In nats.
 */
export function logRewardAt(rule: RewardRule, update: number): (fluency: number, logS: number) => number {
  const gamma = scheduleAt(rule.gamma, update);
  const temperature = scheduleAt(rule.temperature, update);
  return (fluency, logS) => (fluency / gamma + logS / rule.beta) / temperature;
}

/** What the judges said of one attack's responses; `responses` counts the scored ones. */
export interface JudgeScore {
  /** Mean over responses of log max(P_unsafe, floor): a geometric mean, for the reward. */
  readonly logS: number;
  /** Arithmetic mean of P_unsafe, for success. */
  readonly meanUnsafe: number;
  readonly responses: number;
}

/** The score of an attack from P(unsafe) of its scored responses; undefined when none could be scored: no reward, never 0. */
export function judgeScore(unsafe: readonly number[], floor: number): JudgeScore | undefined {
  if (unsafe.length === 0) return undefined;
  let logSum = 0;
  let sum = 0;
  for (const p of unsafe) {
    logSum += Math.log(Math.max(p, floor));
    sum += p;
  }
  return { logS: logSum / unsafe.length, meanUnsafe: sum / unsafe.length, responses: unsafe.length };
}
