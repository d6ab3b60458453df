import { monotonicMs } from '../../base/clock.ts';
import { append } from '../../base/long-lists.ts';
import type { RateSegment } from '../../engine/optimizer/adamw.ts';
import { optimizerStep } from '../../engine/optimizer/optimizer-step.ts';
import { type LearningRateRule, learningRateAt } from '../../engine/optimizer/schedules.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { AttackTokens, WithFields } from '../attack.ts';
import { placesByCell } from '../attacker.ts';
import { directWeights, type Objective, type StepWeights, scaledWeights } from '../objectives/objective.ts';
import type { ReplayBuffer } from '../replay/replay-buffer.ts';
import { serialiseReplayBuffer } from '../replay/replay-buffer-state.ts';
import { isUnsafe } from '../reward/reward.ts';
import { type Gathered, gather } from './gflownet-gather.ts';
import {
  type CellParts,
  type GatherOptions,
  type GflownetParts,
  type Memory,
  memoriesOf,
  rewardOf,
} from './gflownet-parts.ts';
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

/** Rows of an update that continue one prompt. */
interface CellRows {
  readonly cell: string | undefined;
  readonly rows: readonly number[][];
  readonly logRewards: number[];
  /** Their share of the update's rows, by which their loss weighs. */
  readonly share: number;
}

/** Forward and backward of the whole update, one cell after another; returns log pi of each row, log Z and the loss. */
async function differentiate<E>(
  parts: GflownetParts<E>,
  options: GflownetOptions,
  attacks: readonly AttackTokens[],
  logRewards: readonly number[],
) {
  parts.policy.clearGradient();
  const logProbs = new Float32Array(attacks.length);
  let logZ = 0;
  let loss = 0;
  for (const [cell, places] of placesByCell(attacks)) {
    const ofCell: CellRows = {
      cell,
      rows: places.map((i) => parts.attacker.rowOf(attacks[i] as AttackTokens)),
      logRewards: places.map((i) => logRewards[i] as number),
      share: places.length / attacks.length,
    };
    const found = await differentiateCell(parts, options, ofCell);
    for (const [at, i] of places.entries()) logProbs[i] = found.logProbs[at] as number;
    logZ += ofCell.share * found.logZ;
    loss += ofCell.share * options.objective.loss(found.logProbs, ofCell.logRewards, found.logZ);
  }
  return { logProbs, logZ, loss };
}

/** Adds the gradient of one cell's rows, in micro-batches. */
async function differentiateCell<E>(parts: GflownetParts<E>, options: GflownetOptions, ofCell: CellRows) {
  const { attacker, policy } = parts;
  const { objective, batchSize } = options;
  const { cell, rows, logRewards, share } = ofCell;
  const n = rows.length;
  const step = (from: number, to: number, weights: StepWeights) =>
    policy.step(
      { prompt: attacker.promptOf(cell), rows: rows.slice(from, to) },
      { minTokens: attacker.spec.minTokens },
      Float32Array.from(logRewards.slice(from, to)),
      scaledWeights(weights, share),
    );
  if (n <= batchSize && objective.batchWeights !== undefined) return step(0, n, objective.batchWeights(logRewards));
  const weightsOf = await microBatchWeights(parts, options, ofCell);
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
  { cell, rows, logRewards }: CellRows,
): Promise<(from: number, to: number) => StepWeights> {
  const { microBatchWeights: independent } = objective;
  if (independent !== undefined) return (from, to) => independent(to - from, rows.length);
  if (objective.usesLogZ)
    throw new TypeError(`objective ${objective.name}: it learns log Z, so it needs both kinds of weights`);
  const logProbs: number[] = [];
  for (let from = 0; from < rows.length; from += batchSize) {
    const ofCell = cell === undefined ? {} : { cell };
    const attacks = rows.slice(from, from + batchSize).map((row) => ({ tokens: row, terminated: false, ...ofCell }));
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
  const { policy } = parts;
  const { objective, gradientClip, weightDecay } = options;
  const gathered = await gatherInCycle(parts, options, run, update);
  const logReward = rewardOf(options, update);
  const logRewards = gathered.rows.map((attack) => logReward(attack));
  const { logProbs, logZ, loss } = await differentiate(parts, options, gathered.rows, logRewards);
  const learningRate = rateSegments(policy, options, update);
  const gradientNorm = optimizerStep(policy, run.optimizer, { gradientClip, learningRate, weightDecay });
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
      loss,
      ...(objective.usesLogZ ? { logZ } : {}),
      residualSpread: spread(logRewards.map((reward, i) => (logProbs[i] as number) - reward)),
      gradientNorm,
    },
    counts: {
      ...bufferCounts(parts),
      ...(gathered.lag === undefined ? {} : { searchLag: gathered.lag }),
    },
    seconds: (monotonicMs() - started) / 1000,
  };
  return { note: liveLine(record), stop: await run.onUpdate(record) };
}

/** Sizes of all buffers together. */
function bufferCounts<E>(parts: GflownetParts<E>) {
  const buffers = memoriesOf(parts).map(([, { buffer }]) => buffer);
  const sum = (of: (buffer: ReplayBuffer) => number): number => buffers.reduce((total, each) => total + of(each), 0);
  return {
    bufferSize: sum(({ size }) => size),
    nearDuplicates: sum(({ counts }) => counts.replaced + counts['near-duplicate-rejected']),
  };
}

function liveLine<E>({ rows, metrics, counts, attackTokens, seconds }: GflownetUpdate<E>): string {
  const fresh = rows.filter(({ source }) => source === 'fresh'); // the policy's own distribution
  const mean = (name: string, pick: (row: GflownetRow<E>) => number): string[] =>
    fresh.length === 0 ? [] : [`${name} ${(fresh.reduce((sum, row) => sum + pick(row), 0) / fresh.length).toFixed(2)}`];
  const { loss, logZ, residualSpread } = metrics;
  const cells = [...placesByCell(rows).keys()].flatMap((cell) => cell ?? []);
  return [
    ...(cells.length === 0 ? [] : [`cell ${cells.join(' and ')}`]),
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

/** Memory of a checkpoint: the only one, or those of all cells in their order, with the counts of calls. */
function memoryState(parts: Memory & { readonly cells?: CellParts }): Record<string, unknown> {
  const stateOf = ({ buffer, pool, clusters }: Memory): Record<string, unknown> => ({
    buffer: serialiseReplayBuffer(buffer),
    ...(pool === undefined ? {} : { pool: pool.state() }),
    ...(clusters === undefined ? {} : { clusters: clusters.state() }),
  });
  const { cells } = parts;
  if (cells === undefined) return stateOf(parts);
  return { cells: { calls: cells.calls.state(), memories: [...cells.memories.values()].map(stateOf) } };
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
      ...memoryState(parts),
      ...(parts.surrogate === undefined ? {} : { surrogate: parts.surrogate.state() }),
      ...(parts.asked.underWay.length === 0 ? {} : { asked: await parts.asked.drawn() }),
      caller: run.extra?.() ?? null,
    }),
  };
  return runUpdates(run.control, state, { from: run.from, to: options.updates }, (update) =>
    gflownetUpdate(parts, options, run, update),
  );
}
