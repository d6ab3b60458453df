import type { WorldTruth } from './world-truth.ts';

/** Below these a failure could be the world's, not the attacker's. */
const MIN_RECALL = 0.97;
const MIN_SUCCESS = 0.85;
const MAX_LEAK_ERROR = 0.02;
const MAX_FALSE_ALARMS = 0.01;

/** Why a world is not fit to compare attackers in; empty when it is. */
export function admissionProblems(truth: WorldTruth): string[] {
  const problems: string[] = [];
  const { exactRecall, exactSuccess, leakError, falseAlarms } = truth;
  if (exactRecall < MIN_RECALL)
    problems.push(`an exact sampler would find ${exactRecall.toFixed(3)} of the keys, expected at least ${MIN_RECALL}`);
  if (exactSuccess < MIN_SUCCESS)
    problems.push(`an exact sampler would succeed at ${exactSuccess.toFixed(3)}, expected at least ${MIN_SUCCESS}`);
  if (leakError > MAX_LEAK_ERROR)
    problems.push(
      `the target misses its leaks by ${leakError.toFixed(3)} on average, expected at most ${MAX_LEAK_ERROR}`,
    );
  if (falseAlarms.share > MAX_FALSE_ALARMS)
    problems.push(
      `false alarms carry ${(100 * falseAlarms.share).toFixed(2)}% of the posterior, expected at most ${100 * MAX_FALSE_ALARMS}%`,
    );
  return problems;
}
