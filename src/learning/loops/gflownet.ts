import { monotonicMs } from '../../base/clock.ts';
import { ADAMW_DEFAULTS, adamwUpdate, clipGradient, type RateSegment } from '../../engine/optimizer/adamw.ts';
import { learningRateAt } from '../../engine/optimizer/learning-rate.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import {
  directWeights,
  objectiveLoss,
  residualGradient,
  type StepWeights,
  singleBatchWeights,
  usesLogZ,
} from '../objectives/objectives.ts';
import { serialiseReplayBuffer } from '../replay/replay-buffer-state.ts';
import { gather, rewardOf } from './gflownet-gather.ts';
import type { GflownetOptions, GflownetParts, GflownetRow, GflownetRun, GflownetUpdate } from './gflownet-parts.ts';
import { runUpdates, type UpdateOutcome } from './update-loop.ts';

/** Forward and backward of the whole update, in micro-batches; returns log pi of each row and log Z. */
async function differentiate<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  rows: readonly number[][],
  logRewards: number[],
) {
  const { attacker, policy } = parts;
  const { objective, batchSize } = options;
  const n = rows.length;
  policy.clearGradient();
  const step = (from: number, to: number, weights: StepWeights) =>
    policy.step(
      { prompt: attacker.prompt, rows: rows.slice(from, to) },
      { minTokens: attacker.spec.minTokens },
      Float32Array.from(logRewards.slice(from, to)),
      weights,
    );
  if (n <= batchSize) return step(0, n, singleBatchWeights(objective, logRewards));
  const gradient = await groupGradient(parts, options, rows, logRewards);
  const logProbs = new Float32Array(n);
  let logZ = 0;
  for (let from = 0; from < n; from += batchSize) {
    const to = Math.min(n, from + batchSize);
    const weights = directWeights(gradient?.slice(from, to) ?? new Float64Array(to - from));
    if (gradient === undefined) weights.rowWeight.fill(2 / n); // trajectory balance: rows are independent given log Z
    const result = await step(from, to, weights);
    logProbs.set(result.logProbs, from);
    logZ = result.logZ;
  }
  return { logProbs, logZ };
}

/** The group of VarGrad and CTB is the whole update: residuals first. Undefined where rows are independent. */
async function groupGradient<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  rows: readonly number[][],
  logRewards: number[],
) {
  if (options.objective.kind === 'tb') return undefined;
  const { attacker, policy } = parts;
  const logProbs: number[] = [];
  for (let from = 0; from < rows.length; from += options.batchSize) {
    const attacks = rows.slice(from, from + options.batchSize).map((row) => ({ tokens: row, terminated: false }));
    const scores = await attacker.score(attacker.stateOf(policy.parameters), attacks);
    logProbs.push(...scores.map((tokens) => tokens.reduce((sum, logProb) => sum + logProb, 0)));
  }
  return residualGradient(options.objective, logProbs, logRewards, 0);
}

function rateSegments(policy: PolicySession, options: GflownetOptions, update: number): RateSegment[] {
  const size = policy.gradient.length;
  const head = usesLogZ(options.objective)
    ? policy.parameters.specs.slice(-2).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    : 0;
  return [
    { start: 0, end: size - head, learningRate: learningRateAt(options.learningRate, update) },
    { start: size - head, end: size, learningRate: learningRateAt(options.logZLearningRate, update) },
  ];
}

function spread(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** One update: gather, differentiate, optimise, log. */
async function gflownetUpdate<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  run: GflownetRun<E>,
  update: number,
): Promise<UpdateOutcome> {
  const started = monotonicMs();
  const { attacker, policy, buffer } = parts;
  const gathered = await gather(parts, options, update);
  const logReward = rewardOf(options, update);
  const logRewards = gathered.rows.map(({ candidate }) => logReward(candidate));
  const tokenRows = gathered.rows.map(({ candidate }) => attacker.rowOf(candidate));
  const { logProbs, logZ } = await differentiate(parts, options, tokenRows, logRewards);
  const gradientNorm = clipGradient(policy.gradient, options.gradientClip);
  adamwUpdate(policy.parameters.data, policy.gradient, run.optimizer, rateSegments(policy, options, update), {
    ...ADAMW_DEFAULTS,
    weightDecay: options.weightDecay,
  });
  const rows = gathered.rows.map(
    ({ source, candidate, logPRef, evidence }, i): GflownetRow<E> => ({
      source,
      tokens: candidate.tokens,
      terminated: candidate.terminated,
      text: candidate.text,
      logPi: logProbs[i] as number,
      fluency: candidate.logPRef,
      ...(logPRef === undefined ? {} : { logPRef }),
      logReward: logRewards[i] as number,
      meanUnsafe: candidate.meanUnsafe,
      ...(evidence === undefined ? {} : { evidence }),
    }),
  );
  const counts = buffer.counts;
  const record: GflownetUpdate<E> = {
    update,
    loss: objectiveLoss(options.objective, logProbs, logRewards, logZ),
    logZ: usesLogZ(options.objective) ? logZ : undefined,
    residualSpread: spread(logRewards.map((reward, i) => (logProbs[i] as number) - reward)),
    gradientNorm,
    rows,
    unscored: gathered.unscored,
    attackTokens: gathered.attackTokens,
    bufferSize: buffer.size,
    nearDuplicates: counts.replaced + counts['near-duplicate-rejected'],
    seconds: (monotonicMs() - started) / 1000,
  };
  const stop = await run.onUpdate(record);
  return { note: liveLine(record), stop };
}

function liveLine<E>(record: GflownetUpdate<E>): string {
  const fresh = record.rows.filter(({ source }) => source === 'fresh'); // the policy's own distribution
  const mean = (pick: (row: GflownetRow<E>) => number): string =>
    fresh.length === 0 ? '-' : (fresh.reduce((sum, row) => sum + pick(row), 0) / fresh.length).toFixed(2);
  const balance =
    record.logZ === undefined ? `sd ${record.residualSpread.toFixed(2)}` : `logZ ${record.logZ.toFixed(2)}`;
  return [
    `loss ${record.loss.toFixed(2)}`,
    `logR ${mean((row) => row.logReward)}`,
    `ASR ${mean((row) => (row.meanUnsafe > 0.5 ? 1 : 0))}`,
    `log p_ref ${mean((row) => row.fluency)}`,
    balance,
    `buffer ${record.bufferSize} (${record.nearDuplicates} near)`,
    `${(record.attackTokens / record.seconds).toFixed(0)} tok/s`,
  ].join(', ');
}

/**
 * GFlowNet fine-tuning of the attacker (Lee et al. 2025, section 3.1): the policy is moved until it samples attacks in
 * proportion to their reward. Deviations from the paper are options: objectives other than TB, fluency forms, re-scoring.
 *
 * @returns updates done, fewer than planned when `onUpdate` ended the stage.
 */
export async function trainGflownet<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  run: GflownetRun<E>,
): Promise<number> {
  const state = {
    parameters: parts.policy.parameters,
    optimizer: run.optimizer,
    extra: () => ({ buffer: serialiseReplayBuffer(parts.buffer), caller: run.extra?.() ?? null }),
  };
  return runUpdates(run.control, state, { from: run.from, to: options.updates }, (update) =>
    gflownetUpdate(parts, options, run, update),
  );
}
