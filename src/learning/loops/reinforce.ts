import { monotonicMs } from '../../base/clock.ts';
import { optimizerStep } from '../../engine/optimizer/optimizer-step.ts';
import { learningRateAt } from '../../engine/optimizer/schedules.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import { directWeights } from '../objectives/objective.ts';
import { divideBySpread, leaveOneOut } from './advantages.ts';
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
import { runUpdates, type TrainingRun } from './update-loop.ts';

/** The baseline, subtracted from the reward to make its gradient less noisy. */
export type Baseline =
  /** The mean of the update's other attacks. */
  | { readonly kind: 'leave-one-out' }
  /** A moving average over earlier updates; the first update uses its own mean. */
  | { readonly kind: 'running-mean'; readonly decay: number };

export interface ReinforceOptions extends PolicyGradientOptions {
  readonly baseline: Baseline;
  /** Divides advantages by the batch's standard deviation of the rewards. */
  readonly normaliseAdvantages: boolean;
  /** Weight of log pi - log p_ref of the whole attack. */
  readonly kl: number;
  /** Weight of -log pi of the whole attack. */
  readonly entropy: number;
}

export interface ReinforceParts<Evidence> extends PolicyGradientParts<Evidence> {
  readonly policy: PolicySession;
  /** The checkpoint's state, a copy of `NEW_REINFORCE_STATE` for a new stage; changes during training. */
  readonly state: ReinforceState;
}

/** State in a REINFORCE checkpoint beside parameters and optimizer. */
export interface ReinforceState {
  /** Moving average of the penalised reward; null before the first update. */
  runningMean: number | null;
}

export const NEW_REINFORCE_STATE: ReinforceState = { runningMean: null };

/** Everything that one update needs beside its number. */
interface Training<E> {
  readonly parts: ReinforceParts<E>;
  readonly options: ReinforceOptions;
  readonly run: TrainingRun<PolicyGradientUpdate<E>>;
}

/** Advantages of an update's penalised rewards; moves the running mean when that is the baseline. */
function advantagesOf(rewards: readonly number[], options: ReinforceOptions, state: ReinforceState): number[] {
  const { baseline } = options;
  let advantages: number[];
  if (baseline.kind === 'leave-one-out') {
    advantages = leaveOneOut(rewards);
  } else {
    const mean = meanOf(rewards);
    const before = state.runningMean ?? mean;
    advantages = rewards.map((reward) => reward - before);
    state.runningMean = baseline.decay * before + (1 - baseline.decay) * mean;
  }
  return options.normaliseAdvantages ? divideBySpread(advantages, rewards) : advantages;
}

/** Adds the gradient of -mean(advantage * log pi) in passes of `microBatchSize` rows; returns that loss. */
async function differentiate<E>(
  { attacker, policy }: ReinforceParts<E>,
  rollouts: readonly Rollout<E>[],
  advantages: readonly number[],
  microBatchSize: number,
): Promise<number> {
  const n = rollouts.length;
  const cell = rollouts[0]?.attack.cell;
  let loss = 0;
  policy.clearGradient();
  for (let from = 0; from < n; from += microBatchSize) {
    const to = Math.min(n, from + microBatchSize);
    const weights = advantages.slice(from, to).map((advantage) => -advantage / n); // d/d(log pi) of -mean(A log pi)
    const { logProbs } = await policy.step(
      { prompt: attacker.promptOf(cell), rows: rollouts.slice(from, to).map(({ row }) => row) },
      { minTokens: attacker.spec.minTokens },
      new Float32Array(to - from),
      directWeights(weights),
    );
    loss += weights.reduce((sum, weight, i) => sum + weight * (logProbs[i] as number), 0);
  }
  return loss;
}

/** One optimizer step on the penalised rewards. An update without a scored attack changes nothing. */
async function learn<E>(
  { parts, options, run }: Training<E>,
  rollouts: readonly Rollout<E>[],
  penalised: readonly number[],
  update: number,
): Promise<{ readonly loss: number; readonly gradientNorm: number }> {
  if (rollouts.length === 0) return { loss: 0, gradientNorm: 0 };
  const { policy, state } = parts;
  const advantages = advantagesOf(penalised, options, state);
  const loss = await differentiate(parts, rollouts, advantages, options.microBatchSize);
  const gradientNorm = optimizerStep(policy, run.optimizer, {
    gradientClip: options.gradientClip,
    learningRate: learningRateAt(options.learningRate, update),
    weightDecay: options.weightDecay,
  });
  return { loss, gradientNorm };
}

async function reinforceUpdate<E>(training: Training<E>, update: number): Promise<PolicyGradientUpdate<E>> {
  const started = monotonicMs();
  const { parts, options, run } = training;
  const place = { stage: run.control.checkpoints.stage, update };
  const { rollouts, unscored, attackTokens } = await rollOut(parts, parts.policy.parameters, options, place);
  const scores = rollouts.map((rollout) => scoreOf(options.score, rollout, update));
  const penalised = rollouts.map(({ attack: { logPi, logPRef } }, i) => {
    return (scores[i] as number) - options.kl * (logPi - logPRef) - options.entropy * logPi;
  });
  const { loss, gradientNorm } = await learn(training, rollouts, penalised, update);
  return {
    update,
    rows: rollouts.map((rollout, i) => {
      return { ...rollout.attack, terms: { judge: scores[i] as number } };
    }),
    unscored,
    attackTokens,
    metrics: {
      loss,
      gradientNorm,
      reward: meanOf(scores),
      penalisedReward: meanOf(penalised),
      ...rolloutMetrics(rollouts),
    },
    counts: {},
    seconds: (monotonicMs() - started) / 1000,
  };
}

/**
 * REINFORCE (Williams 1992) on the attacker with a baseline and a KL penalty to the reference: maximises E[reward - kl
 * (log pi - log p_ref) - entropy log pi]. With kl 1 and reward log S / beta its optimum is the GFlowNet's posterior,
 * which the tests check.
 *
 * @returns updates done, fewer than planned when `onUpdate` ended the stage.
 */
export async function trainReinforce<E>(
  parts: ReinforceParts<E>,
  options: ReinforceOptions,
  run: TrainingRun<PolicyGradientUpdate<E>>,
): Promise<number> {
  const saved = {
    parameters: parts.policy.parameters,
    optimizer: run.optimizer,
    extra: () => ({ reinforce: { ...parts.state }, caller: run.extra?.() ?? null }),
  };
  return runUpdates(run.control, saved, { from: run.from, to: options.updates }, async (update) => {
    const record = await reinforceUpdate({ parts, options, run }, update);
    return { note: policyGradientNote(record), stop: await run.onUpdate(record) };
  });
}
