import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { valueHeadParameters } from '../models/decoder/actor-critic-graph.ts';
import { ADAMW_DEFAULTS, adamwUpdate, clipGradient, type RateSegment } from './adamw.ts';
import { generalisedAdvantages, whiten } from './advantages.ts';
import { nextKlCoefficient } from './kl-controller.ts';
import { learningRateAt } from './learning-rate.ts';
import { type RewardTerms, rewardTerms, type Similarity, sumOfTerms, tokenRewards } from './novelty-reward.ts';
import { type Rollout, rollOut, scoreOf } from './on-policy-rollout.ts';
import { type PolicyGradientRun, type PolicyGradientUpdate, policyGradientNote } from './policy-gradient-parts.ts';
import { addPpoLosses, createPpoSums, type PpoSums, type PpoTokens, ppoTargets } from './ppo-loss.ts';
import type { PpoOptions, PpoParts, PpoState } from './ppo-parts.ts';
import { runUpdates } from './update-loop.ts';

/** One attack's reward: what it is the sum of, and how like the history it was. */
interface RewardedRollout {
  readonly reward: number;
  readonly terms: RewardTerms;
  readonly similarity: Similarity;
}

async function rewardRollouts<E>(
  parts: PpoParts<E>,
  options: PpoOptions,
  rollouts: readonly Rollout<E>[],
  update: number,
): Promise<RewardedRollout[]> {
  const similarities = await parts.novelty?.measure(rollouts.map(({ attack }) => attack.text));
  return rollouts.map((rollout, i) => {
    const similarity = similarities?.[i] ?? { selfBleu: 0, cosine: 0 };
    const judge = scoreOf(options.score, rollout, update);
    const terms = rewardTerms(judge, similarity, rollout.referenceLogProbs, options.novelty);
    return { reward: sumOfTerms(terms, options.rewardClip), terms, similarity };
  });
}

/** Old log-probs and values, advantages and returns of every token, before the first step. */
async function prepareTokens<E>(
  { attacker, policy }: PpoParts<E>,
  options: PpoOptions,
  rollouts: readonly Rollout<E>[],
  ...[rewarded, kl]: [readonly RewardedRollout[], number]
): Promise<PpoTokens> {
  const oldLogProbs: Float32Array[] = [];
  const oldValues: Float32Array[] = [];
  for (let from = 0; from < rollouts.length; from += options.microBatchSize) {
    const rows = rollouts.slice(from, from + options.microBatchSize).map(({ row }) => row);
    const now = await policy.evaluate({ prompt: attacker.prompt, rows }, { minTokens: attacker.spec.minTokens });
    oldLogProbs.push(...now.tokenLogProbs);
    oldValues.push(...now.values);
  }
  const rewards = rollouts.map(({ referenceLogProbs }, i) =>
    tokenRewards(rewarded[i]?.reward as number, oldLogProbs[i] as Float32Array, referenceLogProbs, {
      kl,
      entropy: options.entropy,
    }),
  );
  const { advantages, returns } = generalisedAdvantages(rewards, oldValues, options);
  return { oldLogProbs, oldValues, advantages: options.whitenAdvantages ? whiten(advantages) : advantages, returns };
}

function rateSegments<E>(parts: PpoParts<E>, options: PpoOptions, update: number): RateSegment[] {
  const size = parts.policy.gradient.length;
  const head = valueHeadParameters(parts.attacker.spec).reduce(
    (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );
  return [
    { start: 0, end: size - head, learningRate: learningRateAt(options.learningRate, update) },
    { start: size - head, end: size, learningRate: learningRateAt(options.valueLearningRate, update) },
  ];
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** Adds the gradient of one minibatch, in passes of `microBatchSize` rows, and its losses to `sums`. */
async function differentiate<E>(
  { attacker, policy }: PpoParts<E>,
  options: PpoOptions,
  known: { readonly tokens: PpoTokens; readonly rows: readonly (readonly number[])[] },
  ...[minibatch, sums]: [readonly number[], PpoSums]
): Promise<void> {
  const count = minibatch.reduce((sum, row) => sum + (known.rows[row]?.length as number), 0);
  policy.clearGradient();
  for (const rows of chunks(minibatch, options.microBatchSize)) {
    const batch = { prompt: attacker.prompt, rows: rows.map((row) => known.rows[row] as readonly number[]) };
    const targets = ppoTargets(known.tokens, rows, count, options);
    const now = await policy.step(batch, { minTokens: attacker.spec.minTokens }, targets);
    addPpoLosses(sums, known.tokens, rows, now, options);
  }
}

/** Several epochs of clipped steps over an update's attacks; returns the sums over all of them and the mean norm. */
async function optimise<E>(
  parts: PpoParts<E>,
  options: PpoOptions,
  run: PolicyGradientRun<E>,
  ...[known, update]: [{ readonly tokens: PpoTokens; readonly rows: readonly (readonly number[])[] }, number]
): Promise<{ readonly sums: PpoSums; readonly gradientNorm: number }> {
  const { policy } = parts;
  const sums = createPpoSums();
  const norms: number[] = [];
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    const stream = randomStream(options.seed, run.control.checkpoints.stage, 'minibatches', update, epoch);
    const order = stream.shuffle(known.rows.map((_, row) => row));
    for (const minibatch of chunks(order, options.minibatchSize)) {
      await differentiate(parts, options, known, minibatch, sums);
      norms.push(clipGradient(policy.gradient, options.gradientClip));
      const segments = rateSegments(parts, options, update);
      const adamw = { ...ADAMW_DEFAULTS, weightDecay: options.weightDecay };
      adamwUpdate(policy.parameters.data, policy.gradient, run.optimizer, segments, adamw);
    }
  }
  return { sums, gradientNorm: meanOf(norms) };
}

const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

async function ppoUpdate<E>(
  parts: PpoParts<E>,
  options: PpoOptions,
  run: PolicyGradientRun<E>,
  ...[state, update]: [PpoState, number]
): Promise<PolicyGradientUpdate<E>> {
  const started = monotonicMs();
  const { stage } = run.control.checkpoints;
  const place = { stage, update };
  const { rollouts, unscored, attackTokens } = await rollOut(parts, parts.policy.parameters, options, place);
  const rewarded = await rewardRollouts(parts, options, rollouts, update);
  const tokens = await prepareTokens(parts, options, rollouts, rewarded, state.klCoefficient);
  const rows = rollouts.map(({ row }) => row);
  const { sums, gradientNorm } = await optimise(parts, options, run, { tokens, rows }, update);
  const kl = meanOf(rollouts.map(({ attack, logPRef }) => attack.logPi - logPRef));
  const { klCoefficient } = state;
  if (options.adaptiveKl !== undefined && rollouts.length > 0) {
    state.klCoefficient = nextKlCoefficient(klCoefficient, options.adaptiveKl, { kl, attacks: rollouts.length });
  }
  const factors = Math.max(
    1,
    rows.reduce((sum, row) => sum + row.length, 0),
  );
  const perToken = (sum: number): number => sum / Math.max(1, sums.tokens);
  return {
    update,
    rows: rollouts.map(({ attack, logPRef, score, evidence }, i) => ({
      tokens: attack.tokens,
      terminated: attack.terminated,
      text: attack.text,
      logPi: attack.logPi,
      logPRef,
      reward: rewarded[i]?.reward as number,
      terms: { ...(rewarded[i]?.terms as RewardTerms) },
      meanUnsafe: score.meanUnsafe,
      evidence,
    })),
    unscored,
    attackTokens,
    metrics: {
      gradientNorm,
      kl,
      klCoefficient,
      reward: meanOf(rewarded.map(({ reward }) => reward)),
      selfBleu: meanOf(rewarded.map(({ similarity }) => similarity.selfBleu)),
      cosine: meanOf(rewarded.map(({ similarity }) => similarity.cosine)),
      gibberish: meanOf(rewarded.map(({ terms }) => (terms.gibberish < 0 ? 1 : 0))),
      // Nats a token: a sampled estimate.
      entropy: -rollouts.reduce((sum, { attack }) => sum + attack.logPi, 0) / factors,
      policyLoss: perToken(sums.policyLoss),
      valueLoss: perToken(sums.valueLoss),
      clipFraction: perToken(sums.clipped),
      valueClipFraction: perToken(sums.valueClipped),
      approximateKl: perToken(sums.approximateKl),
    },
    seconds: (monotonicMs() - started) / 1000,
  };
}

/**
 * PPO with novelty rewards: curiosity-driven red-teaming (Hong et al. 2024, section 3). Clipped objective, value head,
 * GAE over tokens, KL penalty and entropy bonus at every token; the attack's reward, at its last token, is the judge's
 * score less self-BLEU and cosine to everything written before and less a penalty on gibberish.
 *
 * Deviations from the paper's code: attacks are drawn at temperature 1 without top-p, so that log-probs are those of what
 * was drawn; the gradient is clipped by its norm; gibberish is told by the reference.
 *
 * @param state the checkpoint's state, `newPpoState` for a new stage; changed as training goes on.
 * @returns updates done, fewer than planned when `onUpdate` ended the stage.
 * @throws FloodgateError `usage` when novelty has a weight and nothing measures it.
 */
export async function trainPpo<E>(
  parts: PpoParts<E>,
  options: PpoOptions,
  run: PolicyGradientRun<E>,
  state: PpoState,
): Promise<number> {
  const { selfBleu, cosine } = options.novelty;
  if (parts.novelty === undefined && (selfBleu > 0 || cosine > 0)) {
    throw new FloodgateError('usage', `PPO: novelty has weights ${selfBleu} and ${cosine}, but no meter was given`);
  }
  const saved = {
    parameters: parts.policy.parameters,
    optimizer: run.optimizer,
    extra: () => ({ ppo: { ...state }, novelty: parts.novelty?.state() ?? null, caller: run.extra?.() ?? null }),
  };
  return runUpdates(run.control, saved, { from: run.from, to: options.updates }, async (update) => {
    const record = await ppoUpdate(parts, options, run, state, update);
    return { note: policyGradientNote(record), stop: await run.onUpdate(record) };
  });
}
