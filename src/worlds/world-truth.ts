import { expectedRecall, expectedSuccess } from './exact-sampler.ts';
import type { LeakyKey } from './keys.ts';
import type { PartShare, Posterior, Share } from './posterior.ts';

/** Attacks by which recall is counted, everywhere. */
export const RECALL_SAMPLES = 1024;

/** The truth about a world; sampled figures carry their errors. */
export interface WorldTruth {
  readonly keys: readonly PartShare[];
  readonly keyless: PartShare;
  /** Of the posterior. */
  readonly falseAlarms: Share;
  readonly logZ: number;
  /** Mean |learned leak - intended leak|. */
  readonly leakError: number;
  /** Of an exact sampler at 1,024 attacks. */
  readonly exactRecall: number;
  readonly exactSuccess: number;
  /** Effective number of independent draws behind the shares; absent where they are from strata. */
  readonly effective?: number;
}

export function summarise(keys: readonly Pick<LeakyKey, 'leak'>[], posterior: Posterior): WorldTruth {
  const errors = keys.map(({ leak }, i) => Math.abs((posterior.keys[i]?.alarm ?? 0) - leak));
  return {
    keys: posterior.keys,
    keyless: posterior.keyless,
    falseAlarms: posterior.falseAlarms,
    logZ: posterior.logZ,
    leakError: errors.reduce((sum, error) => sum + error, 0) / Math.max(1, errors.length),
    exactRecall: expectedRecall(posterior, RECALL_SAMPLES),
    exactSuccess: expectedSuccess(posterior),
  };
}

/** Beyond these limits a failure could be the world's, not the attacker's. */
const MIN_RECALL = 0.97;
const MIN_SUCCESS = 0.85;
const MAX_LEAK_ERROR = 0.02;
const MAX_FALSE_ALARMS = 0.01;

/** How much better than with a perfect target the first two figures may be with a trained one; far more than is seen. */
const TARGET_SLACK = 0.1;

/**
 * Reasons why no target can make a world fit, by its truth under a target that has learned its leaks exactly; empty
 * when one may. A world is so refused before a target is trained for it.
 */
export function hopelessProblems(intended: WorldTruth): string[] {
  const learned = { ...intended, leakError: 0, falseAlarms: { share: 0, error: 0 } };
  const { exactRecall, exactSuccess } = intended;
  const best = { ...learned, exactRecall: exactRecall + TARGET_SLACK, exactSuccess: exactSuccess + TARGET_SLACK };
  return admissionProblems(best).length > 0 ? admissionProblems(learned) : [];
}

/** How far a target is from what it was taught: its errors as shares of what is admitted, summed. */
export function targetError({ leakError, falseAlarms }: Pick<WorldTruth, 'leakError' | 'falseAlarms'>): number {
  return leakError / MAX_LEAK_ERROR + falseAlarms.share / MAX_FALSE_ALARMS;
}

/** Reasons why a world cannot compare attackers; empty when it can. */
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
