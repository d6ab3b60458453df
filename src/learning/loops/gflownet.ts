import { monotonicMs } from '../../base/clock.ts';
import { append } from '../../base/long-lists.ts';
import type { RateSegment } from '../../engine/optimizer/adamw.ts';
import { optimizerStep } from '../../engine/optimizer/optimizer-step.ts';
import { type LearningRateRule, learningRateAt } from '../../engine/optimizer/schedules.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { WithFields } from '../attack.ts';
import { directWeights, type Objective, type StepWeights } from '../objectives/objective.ts';
import { serialiseReplayBuffer } from '../replay/replay-buffer-state.ts';
import { isUnsafe } from '../reward/reward.ts';
import { type Gathered, gather } from './gflownet-gather.ts';
import { type GatherOptions, type GflownetParts, rewardOf } from './gflownet-parts.ts';
import { type CycleRule, refit, startsCycle } from './refit.ts';
import type { TrainingUpdate } from './rollout.ts';
import { runUpdates, type TrainingRun, type UpdateOutcome } from './update-loop.ts';

export interface GflownetOptions extends GatherOptions {
  readonly objective: Objective;
  readonly learningRate: LearningRateRule;
  readonly logZLearningRate: LearningRateRule;
  readonly gradientClip: number;
  readonly weightDecay: number;
  /** Absent: the stage is one cycle. */
  readonly cycles?: CycleRule;
}

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
  if (n <= batchSize && objective.batchWeights !== undefined) return step(0, n, objective.batchWeights(logRewards));
  const weightsOf = await microBatchWeights(parts, options, rows, logRewards);
  const logProbs = new Float32Array(n);
  let logZ = 0;
  for (let from = 0; from < n; from += batchSize) {
    const to = Math.min(n, from + batchSize);
    const result = await step(from, to, weightsOf(from, to));
    logProbs.set(result.logProbs, from);
    logZ = result.logZ;
  }
  return { logProbs, logZ };
}

/** Weights of each micro-batch. Where the group is the whole update, a forward pass over it comes first. */
async function microBatchWeights<E>(
  { attacker, policy }: GflownetParts<E>,
  { objective, batchSize }: GflownetOptions,
  rows: readonly number[][],
  logRewards: number[],
): Promise<(from: number, to: number) => StepWeights> {
  const { microBatchWeights: independent } = objective;
  if (independent !== undefined) return (from, to) => independent(to - from, rows.length);
  if (objective.usesLogZ)
    throw new TypeError(`objective ${objective.name}: it learns log Z, so it needs both kinds of weights`);
  const logProbs: number[] = [];
  for (let from = 0; from < rows.length; from += batchSize) {
    const attacks = rows.slice(from, from + batchSize).map((row) => ({ tokens: row, terminated: false }));
    const scores = await attacker.score(attacker.stateOf(policy.parameters), attacks);
    append(
      logProbs,
      scores.map((tokens) => tokens.reduce((sum, logProb) => sum + logProb, 0)),
    );
  }
  const gradient = objective.gradient(logProbs, logRewards, 0);
  return (from, to) => directWeights(gradient.slice(from, to));
}

function rateSegments(policy: PolicySession, options: GflownetOptions, update: number): RateSegment[] {
  const size = policy.gradient.length;
  const head = options.objective.usesLogZ
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

type GflownetRow<E> = WithFields<'logPi' | 'fluency' | 'score' | 'logReward', E>;

/** One update of the GFlowNet. `metrics.logZ` is present for objectives that learn it. */
export interface GflownetUpdate<Evidence> extends TrainingUpdate<Evidence> {
  readonly rows: readonly GflownetRow<Evidence>[];
}

/** Gathers the rows of an update; the first of a cycle is refitted before. An interruption undoes the refit. */
async function gatherInCycle<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  { optimizer, control }: TrainingRun<GflownetUpdate<E>>,
  update: number,
): Promise<Gathered<E>> {
  const { cycles } = options;
  if (cycles === undefined || !startsCycle(cycles.count, options.updates, update)) {
    return gather(parts, options, update);
  }
  const undo = await refit(parts, { ...options, cycles }, { optimizer, update, signal: control.signal });
  try {
    return await gather(parts, options, update);
  } catch (error) {
    undo();
    throw error;
  }
}

/** One update: gather, differentiate, optimise, report. */
async function gflownetUpdate<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  run: TrainingRun<GflownetUpdate<E>>,
  update: number,
): Promise<UpdateOutcome> {
  const started = monotonicMs();
  const { attacker, policy, buffer } = parts;
  const { objective, gradientClip, weightDecay } = options;
  const gathered = await gatherInCycle(parts, options, run, update);
  const logReward = rewardOf(options, update);
  const logRewards = gathered.rows.map((attack) => logReward(attack));
  const tokenRows = gathered.rows.map((attack) => attacker.rowOf(attack));
  const { logProbs, logZ } = await differentiate(parts, options, tokenRows, logRewards);
  const learningRate = rateSegments(policy, options, update);
  const gradientNorm = optimizerStep(policy, run.optimizer, { gradientClip, learningRate, weightDecay });
  const { counts } = buffer;
  const record: GflownetUpdate<E> = {
    update,
    rows: gathered.rows.map((attack, i) => ({
      ...attack,
      logPi: logProbs[i] as number,
      logReward: logRewards[i] as number,
    })),
    unscored: gathered.unscored,
    attackTokens: gathered.attackTokens,
    metrics: {
      loss: objective.loss(logProbs, logRewards, logZ),
      ...(objective.usesLogZ ? { logZ } : {}),
      residualSpread: spread(logRewards.map((reward, i) => (logProbs[i] as number) - reward)),
      gradientNorm,
    },
    counts: {
      bufferSize: buffer.size,
      nearDuplicates: counts.replaced + counts['near-duplicate-rejected'],
      ...(gathered.lag === undefined ? {} : { searchLag: gathered.lag }),
    },
    seconds: (monotonicMs() - started) / 1000,
  };
  return { note: liveLine(record), stop: await run.onUpdate(record) };
}

function liveLine<E>({ rows, metrics, counts, attackTokens, seconds }: GflownetUpdate<E>): string {
  const fresh = rows.filter(({ source }) => source === 'fresh'); // the policy's own distribution
  const mean = (name: string, pick: (row: GflownetRow<E>) => number): string[] =>
    fresh.length === 0 ? [] : [`${name} ${(fresh.reduce((sum, row) => sum + pick(row), 0) / fresh.length).toFixed(2)}`];
  const { loss, logZ, residualSpread } = metrics;
  return [
    `loss ${loss?.toFixed(2)}`,
    ...mean('logR', (row) => row.logReward),
    ...mean('ASR', ({ score }) => (isUnsafe(score.meanUnsafe) ? 1 : 0)),
    ...mean('fluency', (row) => row.fluency),
    logZ === undefined ? `sd ${residualSpread?.toFixed(2)}` : `logZ ${logZ.toFixed(2)}`,
    `buffer ${counts.bufferSize} (${counts.nearDuplicates} near)`,
    ...(counts.searchLag === undefined ? [] : [`lag ${counts.searchLag}`]),
    ...(attackTokens === 0 ? [] : [`${(attackTokens / seconds).toFixed(0)} tok/s`]),
  ].join(', ');
}

/**
 * GFlowNet fine-tuning of the attacker (Lee et al. 2025, section 3.1): moves the policy until it samples attacks in
 * proportion to their reward. Deviations from the paper are options: objectives other than TB, fluency forms, re-scoring.
 *
 * @returns updates done, fewer than planned when `onUpdate` ended the stage.
 */
export async function trainGflownet<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  run: TrainingRun<GflownetUpdate<E>>,
): Promise<number> {
  const state = {
    parameters: parts.policy.parameters,
    optimizer: run.optimizer,
    extra: async () => ({
      buffer: serialiseReplayBuffer(parts.buffer),
      ...(parts.pool === undefined ? {} : { pool: parts.pool.state() }),
      ...(parts.clusters === undefined ? {} : { clusters: parts.clusters.state() }),
      ...(parts.surrogate === undefined ? {} : { surrogate: parts.surrogate.state() }),
      ...(parts.asked.underWay.length === 0 ? {} : { asked: await parts.asked.drawn() }),
      caller: run.extra?.() ?? null,
    }),
  };
  return runUpdates(run.control, state, { from: run.from, to: options.updates }, (update) =>
    gflownetUpdate(parts, options, run, update),
  );
}
