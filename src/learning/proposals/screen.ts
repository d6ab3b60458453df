import { dotAt } from '../../base/flat-vectors.ts';
import { randomStream } from '../../base/random.ts';
import type { SampledAttack } from '../attack.ts';
import type { JudgeScore } from '../reward/reward.ts';
import type { Surrogate } from './surrogate.ts';

/**
 * Screening: the policy draws several candidates for each attack that is tried, and a surrogate chooses among them by
 * Thompson sampling. Drawing is free, asking is not. Only real rewards train; the objective is off-policy, so the stated
 * distribution stays the same.
 */
export interface ScreenRule {
  /** Candidates for each attack that is tried. */
  readonly candidates: number;
  /** Share of the tried attacks that nobody chose: they measure the policy and the surrogate. */
  readonly controlShare: number;
  /** Screening pauses while the rank correlation of its predictions is below. */
  readonly minCorrelation: number;
}

/** Chosen candidates are no nearer to each other than this, while there are others. */
const DIVERSITY = 0.75;
/** Attacks that the surrogate must have seen before it chooses. */
const LEAST_ROWS = 64;
/** P(unsafe) below this is as good as none: the surrogate learns its logarithm. */
const VALUE_FLOOR = 0.01;

/** The value of an attack that the surrogate learns. */
export function surrogateValue({ meanUnsafe }: JudgeScore): number {
  return Math.log(Math.max(meanUnsafe, VALUE_FLOOR));
}

/** A candidate with its embedding and the ensemble's mean prediction. */
export interface Candidate {
  readonly attack: SampledAttack;
  readonly embedding: Float32Array;
  readonly prediction: number | undefined;
}

/** Whether the surrogate knows enough to choose. */
export function isScreening(surrogate: Surrogate, { minCorrelation }: ScreenRule): boolean {
  return surrogate.size >= LEAST_ROWS && (surrogate.correlation ?? 1) >= minCorrelation;
}

/**
 * Chooses `count` of the candidates: the first ones as they come, as control, the others by the surrogate. Each choice
 * takes one member of the ensemble at random and its best candidate that is not near an earlier choice.
 *
 * @returns the chosen candidates; a screened one has the source `screened`.
 */
export function screen(
  candidates: readonly { readonly attack: SampledAttack; readonly embedding: Float32Array }[],
  surrogate: Surrogate,
  rule: ScreenRule,
  plan: { readonly count: number; readonly seed: number; readonly update: number },
): Candidate[] {
  const predictions = candidates.map(({ embedding }) => surrogate.predict(embedding));
  const mean = (values: readonly number[] | undefined): number | undefined =>
    values === undefined ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
  const at = (i: number): Candidate => ({
    ...(candidates[i] as (typeof candidates)[number]),
    prediction: mean(predictions[i]),
  });
  const control = isScreening(surrogate, rule) ? Math.max(1, Math.round(plan.count * rule.controlShare)) : plan.count;
  const chosen = Array.from({ length: Math.min(control, plan.count) }, (_, i) => i);
  const stream = randomStream(plan.seed, 'screen', plan.update);
  const left = new Set(candidates.keys());
  for (const i of chosen) left.delete(i);
  while (chosen.length < plan.count && left.size > 0) {
    const members = predictions[0]?.length ?? 1;
    const best = bestOf(left, chosen, candidates, predictions, stream.nextInt(members));
    chosen.push(best);
    left.delete(best);
  }
  return chosen.map((i, slot) => {
    const candidate = at(i);
    return slot < control ? candidate : { ...candidate, attack: { ...candidate.attack, source: 'screened' as const } };
  });
}

function bestOf(
  left: ReadonlySet<number>,
  chosen: readonly number[],
  candidates: readonly { readonly embedding: Float32Array }[],
  predictions: readonly (readonly number[] | undefined)[],
  member: number,
): number {
  const embeddingOf = (i: number): Float32Array => (candidates[i] as { readonly embedding: Float32Array }).embedding;
  const isNear = (i: number): boolean => {
    const own = embeddingOf(i);
    return chosen.some((other) => dotAt(own, 0, embeddingOf(other), 0, own.length) > DIVERSITY);
  };
  const byPrediction = [...left].sort(
    (a, b) => (predictions[b]?.[member] as number) - (predictions[a]?.[member] as number) || a - b,
  );
  return byPrediction.find((i) => !isNear(i)) ?? (byPrediction[0] as number);
}
