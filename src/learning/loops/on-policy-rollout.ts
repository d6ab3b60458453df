import { randomStream } from '../../base/random.ts';
import type { ParameterVector } from '../../models/decoder/parameter-vector.ts';
import type { SampledAttack } from '../attacker.ts';
import { fluencyTerm } from '../reward/fluency.ts';
import { type JudgeScore, logRewardAt } from '../reward/reward.ts';
import type {
  PolicyGradientOptions,
  PolicyGradientParts,
  PolicyGradientRow,
  PolicyGradientUpdate,
  ScoreRule,
} from './policy-gradient-parts.ts';

/** Rows sampled or scored at once: bounds the K/V cache and the logits. */
const MAX_SAMPLED_ROWS = 64;

/** One fresh attack that was tried and could be scored. */
export interface Rollout<E> {
  readonly attack: SampledAttack;
  /** Its factors as token ids: the end token among them when it was written. */
  readonly row: readonly number[];
  /** log p_ref of each factor. */
  readonly referenceLogProbs: Float32Array;
  readonly logPRef: number;
  readonly score: JudgeScore;
  readonly evidence: E;
}

export interface Rollouts<E> {
  readonly rollouts: readonly Rollout<E>[];
  readonly unscored: PolicyGradientUpdate<E>['unscored'];
  readonly attackTokens: number;
}

/**
 * The attacks of one update: drawn from the policy itself at temperature 1, each from its own stream, scored under the
 * reference and tried on the target. `stage` makes the streams' names its own.
 */
export async function rollOut<E>(
  parts: PolicyGradientParts<E>,
  parameters: ParameterVector,
  options: PolicyGradientOptions,
  { stage, update }: { readonly stage: string; readonly update: number },
): Promise<Rollouts<E>> {
  const { attacker, reference } = parts;
  const state = attacker.stateOf(parameters);
  const sampled: SampledAttack[] = [];
  const referenceLogProbs: Float32Array[] = [];
  for (let start = 0; start < options.batchSize; start += MAX_SAMPLED_ROWS) {
    const count = Math.min(MAX_SAMPLED_ROWS, options.batchSize - start);
    const requests = Array.from({ length: count }, (_, i) => ({
      stream: randomStream(options.seed, stage, 'attack', update, start + i),
      temperature: 1,
    }));
    const chunk = await attacker.sample(state, requests);
    sampled.push(...chunk);
    referenceLogProbs.push(...(await attacker.score(reference, chunk)));
  }
  const results = await parts.reward(
    sampled.map(({ text }, row) => ({ text, streamName: [stage, 'response', update, row] })),
  );
  const rollouts: Rollout<E>[] = [];
  const unscored: { text: string; tokens: readonly number[]; evidence: E }[] = [];
  for (const [i, attack] of sampled.entries()) {
    const { score, evidence } = results[i] as (typeof results)[number];
    if (score === undefined) {
      unscored.push({ text: attack.text, tokens: attack.tokens, evidence });
      continue;
    }
    const factors = referenceLogProbs[i] as Float32Array;
    const logPRef = factors.reduce((sum, logProb) => sum + logProb, 0);
    rollouts.push({ attack, row: attacker.rowOf(attack), referenceLogProbs: factors, logPRef, score, evidence });
  }
  const attackTokens = sampled.reduce((sum, attack) => sum + attacker.rowOf(attack).length, 0);
  return { rollouts, unscored, attackTokens };
}

/** A rollout as it is logged, with its reward and what that is the sum of. */
export function toRow<E>(
  { attack, logPRef, score, evidence }: Rollout<E>,
  { reward, terms }: { readonly reward: number; readonly terms: Readonly<Record<string, number>> },
): PolicyGradientRow<E> {
  const { tokens, terminated, text, logPi } = attack;
  return { tokens, terminated, text, logPi, logPRef, reward, terms, meanUnsafe: score.meanUnsafe, evidence };
}

export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

/** Numbers of an update's attacks that every method reports: KL to the reference in nats an attack, entropy in nats a token. */
export function rolloutMetrics(rollouts: readonly Rollout<unknown>[]): {
  readonly kl: number;
  readonly entropy: number;
} {
  const tokens = rollouts.reduce((sum, { row }) => sum + row.length, 0);
  const logPi = rollouts.reduce((sum, { attack }) => sum + attack.logPi, 0);
  return {
    kl: meanOf(rollouts.map(({ attack, logPRef }) => attack.logPi - logPRef)),
    entropy: -logPi / Math.max(1, tokens),
  };
}

/** What the judge's score of a rollout is worth at `update`. */
export function scoreOf(
  rule: ScoreRule,
  { score, attack, referenceLogProbs }: Rollout<unknown>,
  update: number,
): number {
  switch (rule.kind) {
    case 'mean-unsafe':
      return score.meanUnsafe;
    case 'log-s':
      return score.logS / rule.beta;
    case 'log-r': {
      const reference = { tokenLogProbs: referenceLogProbs, tokens: attack.tokens.length };
      return logRewardAt(rule.reward, update)(fluencyTerm(rule.fluency, reference), score.logS);
    }
  }
}
