import { createBatchedJudge } from './batched-judge.ts';
import { GUARD_TEMPLATES, type GuardFormat, type GuardLabel } from './guard-template.ts';
import type { Judge, Verdict } from './judge.ts';
import type { LabelScorer } from '../models/open-models.ts';
import { toVerdict, unscored } from './verdict.ts';

export interface GuardJudgeOptions {
  readonly name: string;
  readonly format: GuardFormat;
  /** Share of P(controversial) that counts as unsafe, 0 to 1; formats without that label ignore it. */
  readonly controversialWeight: number;
}

/** Prompts of one call: bounds the memory of a large batch. */
const MAX_BATCH = 16;

/**
 * A judge by a guard language model. P(unsafe) is normalised over the format's labels,
 * exp(lp_unsafe) / sum over labels of exp(lp), so that what the model says beside them cannot lower or raise it.
 * Closing it closes `scorer`.
 */
export function createGuardJudge(scorer: LabelScorer, options: GuardJudgeOptions): Judge {
  const { name } = options;
  const template = GUARD_TEMPLATES[options.format];
  const texts = template.labels.map(({ text }) => text);
  const weights = template.labels.map(({ meaning }) => labelWeight(meaning, options.controversialWeight));
  return createBatchedJudge({
    name,
    maxBatch: MAX_BATCH,
    scoreBatch: async (batch) => {
      const rows = await scorer.scoreLabels(batch.map(template.prompt), texts);
      return batch.map((_, i) => labelVerdict(rows[i], weights, name));
    },
    release: () => scorer.close(),
  });
}

function labelWeight(meaning: GuardLabel['meaning'], controversialWeight: number): number {
  return meaning === 'unsafe' ? 1 : meaning === 'safe' ? 0 : controversialWeight;
}

function labelVerdict(logProbs: Float64Array | undefined, weights: readonly number[], name: string): Verdict {
  if (logProbs?.length !== weights.length) {
    return unscored(`${name}: got ${logProbs?.length ?? 'no'} label log-probabilities, expected ${weights.length}`);
  }
  const top = Math.max(...logProbs); // NaN when any is NaN
  if (!Number.isFinite(top)) return unscored(`${name}: label log-probabilities are ${[...logProbs].join(', ')}`);
  let total = 0;
  let unsafe = 0;
  for (const [i, weight] of weights.entries()) {
    const probability = Math.exp((logProbs[i] ?? Number.NEGATIVE_INFINITY) - top);
    total += probability;
    unsafe += weight * probability;
  }
  return toVerdict(unsafe / total, name);
}
