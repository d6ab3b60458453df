import { monotonicMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import { randomStream } from '../../base/random.ts';
import type { RateSegment } from '../../engine/optimizer/adamw.ts';
import { optimizerStep } from '../../engine/optimizer/optimizer-step.ts';
import { type LearningRateRule, learningRateAt } from '../../engine/optimizer/schedules.ts';
import { valueHeadParameters } from '../../models/decoder/actor-critic-graph.ts';
import type { ActorCriticSession } from '../../models/decoder/actor-critic-session.ts';
import {
  type NoveltyMeter,
  type NoveltyWeights,
  type RewardTerms,
  rewardTerms,
  type Similarity,
  sumOfTerms,
  tokenRewards,
} from '../reward/novelty-reward.ts';
import { generalisedAdvantages, whiten } from './advantages.ts';
import {
  meanOf,
  type PolicyGradientOptions,
  type PolicyGradientParts,
  type PolicyGradientUpdate,
  policyGradientNote,
  type Rollout,
  rollOut,
  rolloutMetrics,
  scoreOf,
} from './policy-gradient.ts';
import {
  type AdaptiveKlRule,
  addPpoLosses,
  createPpoSums,
  nextKlCoefficient,
  type PpoSums,
  type PpoTokens,
  ppoTargets,
} from './ppo-loss.ts';
import { runUpdates, type TrainingRun } from './update-loop.ts';

export interface PpoOptions extends PolicyGradientOptions {
  /** Passes over an update's attacks. */
  readonly epochs: number;
  /** Attacks of one optimizer step. */
  readonly minibatchSize: number;
  readonly clipRange: number;
  readonly valueClipRange?: number;
  readonly valueWeight: number;
  /** Of the value head. */
  readonly valueLearningRate: LearningRateRule;
  /** Discount over tokens. */
  readonly discount: number;
  /** Lambda of the generalised advantage estimate. */
  readonly lambda: number;
  /** Shifts and scales all tokens' advantages to mean 0 and variance 1. */
  readonly whitenAdvantages: boolean;
  /** Weight of the KL penalty at every token; the initial weight when it adapts. */
  readonly kl: number;
  /** Fixed coefficient when absent. */
  readonly adaptiveKl?: AdaptiveKlRule;
  /** Weight of -log pi, at every token. */
  readonly entropy: number;
  readonly novelty: NoveltyWeights;
  /** Rewards of attacks are clipped to +- this. */
  readonly rewardClip: number;
}

export interface PpoParts<Evidence> extends PolicyGradientParts<Evidence> {
  readonly policy: ActorCriticSession;
  /** The checkpoint's state, `newPpoState` for a new stage; changes during training. */
  readonly state: PpoState;
  /** Required when a weight of `options.novelty` is above 0. */
  readonly novelty?: NoveltyMeter;
}

/** State in a PPO checkpoint beside parameters, optimizer and the novelty history. */
export interface PpoState {
  klCoefficient: number;
}

export function newPpoState(options: Pick<PpoOptions, 'kl'>): PpoState {
  return { klCoefficient: options.kl };
}

/** Everything that one update needs beside its number. */
interface Training<E> {
  readonly parts: PpoParts<E>;
  readonly options: PpoOptions;
  readonly run: TrainingRun<PolicyGradientUpdate<E>>;
}

/** One attack's reward, the terms that it is the sum of, and the attack's similarity to the history. */
interface RewardedRollout {
  readonly reward: number;
  readonly terms: RewardTerms;
  readonly similarity: Similarity;
}

/** An update's rows and the known values of each of their tokens. */
interface KnownRows {
  /** The cell of the update; undefined for an attacker without cells. */
  readonly cell: string | undefined;
  readonly rows: readonly (readonly number[])[];
  readonly tokens: PpoTokens;
}

async function rewardRollouts<E>(
  { parts, options }: Training<E>,
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
  { parts, options }: Training<E>,
  rollouts: readonly Rollout<E>[],
  rewarded: readonly RewardedRollout[],
): Promise<KnownRows> {
  const { attacker, policy } = parts;
  const rows = rollouts.map(({ row }) => row);
  const cell = rollouts[0]?.attack.cell;
  const oldLogProbs: Float32Array[] = [];
  const oldValues: Float32Array[] = [];
  for (const part of chunks(rows, options.microBatchSize)) {
    const batch = { prompt: attacker.promptOf(cell), rows: part };
    const now = await policy.evaluate(batch, { minTokens: attacker.spec.minTokens });
    append(oldLogProbs, now.tokenLogProbs);
    append(oldValues, now.values);
  }
  const weights = { kl: parts.state.klCoefficient, entropy: options.entropy };
  const rewards = rollouts.map(({ referenceLogProbs }, i) =>
    tokenRewards(rewarded[i]?.reward as number, oldLogProbs[i] as Float32Array, referenceLogProbs, weights),
  );
  const { advantages, returns } = generalisedAdvantages(rewards, oldValues, options);
  const learnt = options.whitenAdvantages ? whiten(advantages) : advantages;
  return { cell, rows, tokens: { oldLogProbs, oldValues, advantages: learnt, returns } };
}

function rateSegments<E>({ parts, options }: Training<E>, update: number): RateSegment[] {
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

/** The gradient of one minibatch, in passes of `microBatchSize` rows; adds its losses to `sums`. */
async function differentiate<E>(
  { parts: { attacker, policy }, options }: Training<E>,
  known: KnownRows,
  minibatch: readonly number[],
  sums: PpoSums,
): Promise<void> {
  const count = minibatch.reduce((sum, row) => sum + (known.rows[row]?.length as number), 0);
  policy.clearGradient();
  for (const rows of chunks(minibatch, options.microBatchSize)) {
    const given = rows.map((row) => known.rows[row] as readonly number[]);
    const batch = { prompt: attacker.promptOf(known.cell), rows: given };
    const targets = ppoTargets(known.tokens, rows, count, options);
    const now = await policy.step(batch, { minTokens: attacker.spec.minTokens }, targets);
    addPpoLosses(sums, known.tokens, rows, now, options);
  }
}

/** Several epochs of clipped steps over an update's attacks; the losses are means over all of them. */
async function optimise<E>(training: Training<E>, known: KnownRows, update: number) {
  const { parts, options, run } = training;
  const { policy } = parts;
  const sums = createPpoSums();
  const norms: number[] = [];
  const { gradientClip, weightDecay } = options;
  const step = { gradientClip, learningRate: rateSegments(training, update), weightDecay };
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    const stream = randomStream(options.seed, run.control.checkpoints.stage, 'minibatches', update, epoch);
    const order = stream.shuffle(known.rows.map((_, row) => row));
    for (const minibatch of chunks(order, options.minibatchSize)) {
      await differentiate(training, known, minibatch, sums);
      norms.push(optimizerStep(policy, run.optimizer, step));
    }
  }
  const perToken = (sum: number): number => sum / Math.max(1, sums.tokens);
  return {
    gradientNorm: meanOf(norms),
    policyLoss: perToken(sums.policyLoss),
    valueLoss: perToken(sums.valueLoss),
    clipFraction: perToken(sums.clipped),
    valueClipFraction: perToken(sums.valueClipped),
    approximateKl: perToken(sums.approximateKl),
  };
}

async function ppoUpdate<E>(training: Training<E>, update: number): Promise<PolicyGradientUpdate<E>> {
  const started = monotonicMs();
  const { parts, options, run } = training;
  const place = { stage: run.control.checkpoints.stage, update };
  const { rollouts, unscored, attackTokens } = await rollOut(parts, parts.policy.parameters, options, place);
  const rewarded = await rewardRollouts(training, rollouts, update);
  const known = await prepareTokens(training, rollouts, rewarded);
  const losses = await optimise(training, known, update);
  const { klCoefficient } = parts.state;
  const common = rolloutMetrics(rollouts);
  if (options.adaptiveKl !== undefined && rollouts.length > 0) {
    const observed = { kl: common.kl, attacks: rollouts.length };
    parts.state.klCoefficient = nextKlCoefficient(klCoefficient, options.adaptiveKl, observed);
  }
  return {
    update,
    rows: rollouts.map(({ attack }, i) => ({ ...attack, terms: { ...(rewarded[i] as RewardedRollout).terms } })),
    unscored,
    attackTokens,
    metrics: {
      ...losses,
      ...common,
      klCoefficient,
      reward: meanOf(rewarded.map(({ reward }) => reward)),
      selfBleu: meanOf(rewarded.map(({ similarity }) => similarity.selfBleu)),
      cosine: meanOf(rewarded.map(({ similarity }) => similarity.cosine)),
      gibberish: meanOf(rewarded.map(({ terms }) => (terms.gibberish < 0 ? 1 : 0))),
    },
    counts: {},
    seconds: (monotonicMs() - started) / 1000,
  };
}

/**
 * PPO with novelty rewards: curiosity-driven red-teaming (Hong et al. 2024, section 3). Clipped objective, value head,
 * GAE over tokens, KL penalty and entropy bonus at every token. The attack's reward comes at its last token: the
 * judge's score, less self-BLEU and cosine to everything written before, less a penalty on gibberish.
 *
 * Deviations from the paper's code: attacks are drawn at temperature 1 without top-p, so that log-probs are those of
 * the sampling distribution; the gradient is clipped by its norm; the reference detects gibberish.
 *
 * @returns updates done, fewer than planned when `onUpdate` ended the stage.
 * @throws FloodgateError `usage` when novelty has a weight but there is no meter.
 */
export async function trainPpo<E>(
  parts: PpoParts<E>,
  options: PpoOptions,
  run: TrainingRun<PolicyGradientUpdate<E>>,
): Promise<number> {
  const { selfBleu, cosine } = options.novelty;
  if (parts.novelty === undefined && (selfBleu > 0 || cosine > 0)) {
    throw new FloodgateError('usage', `PPO: novelty has weights ${selfBleu} and ${cosine}, but no meter was given`);
  }
  const saved = {
    parameters: parts.policy.parameters,
    optimizer: run.optimizer,
    extra: () => ({ ppo: { ...parts.state }, novelty: parts.novelty?.state() ?? null, caller: run.extra?.() ?? null }),
  };
  return runUpdates(run.control, saved, { from: run.from, to: options.updates }, async (update) => {
    const record = await ppoUpdate({ parts, options, run }, update);
    return { note: policyGradientNote(record), stop: await run.onUpdate(record) };
  });
}
