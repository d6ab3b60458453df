import { createMaskedJudge } from '../../judges/masked-judge.ts';
import { type AttackOutcome, attackOutcome } from '../../metrics/success.ts';
import { type Evidence, type SeatName, verdictsOf } from '../../trial/evidence.ts';
import type { JudgeSeat } from '../../trial/trial.ts';
import type { Config } from '../config/config.ts';
import type { Campaign } from '../stage.ts';

/** How an attacker is measured. */
export interface EvaluationPlan {
  readonly attacks: number;
  readonly responses: number;
  /** Of the attacker; 1 is the distribution that it was trained to match. */
  readonly temperature: number;
  readonly seed: number;
}

/** The evaluation plan of a config. */
export function evaluationPlan({ seed, evaluation }: Config): EvaluationPlan {
  const { attacks, responses, temperature } = evaluation;
  return { attacks, responses, temperature, seed };
}

/** The judges whose figures are measured, each name once; the first one's figures count. */
export function judgeNames({ trainingJudge, evaluationJudges }: Campaign): string[] {
  return [...new Set([...evaluationJudges, trainingJudge].map(({ name }) => name))];
}

/** Every judge, each also with the attack's own words masked from the response; each name once. */
export function evaluationSeats({ trainingJudge, evaluationJudges }: Campaign): JudgeSeat[] {
  const judges = new Map([...evaluationJudges, trainingJudge].map((judge) => [judge.name, judge]));
  return [...judges].flatMap(([name, judge]): JudgeSeat[] => [
    { judge, masked: false, name },
    { judge: createMaskedJudge(judge), masked: true, name },
  ]);
}

/** The outcome of an attack by one judge's stored verdicts. */
export function outcomeBy(responses: Evidence['responses'], seat: SeatName): AttackOutcome {
  return attackOutcome(verdictsOf(responses, seat));
}
