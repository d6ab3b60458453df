import { FloodgateError } from '../../base/errors.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import { type AdamWState, createAdamWState } from '../../engine/optimizer/adamw.ts';
import { optimizerStep } from '../../engine/optimizer/optimizer-step.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { Attacker } from '../attacker.ts';
import { directWeights } from '../objectives/objective.ts';
import type { ReplayEntry } from '../replay/replay-entry.ts';
import { isUnsafe } from '../reward/reward.ts';
import type { SpreadRule } from '../reward/spread.ts';
import { type CellParts, type Memory, memoriesOf } from './gflownet-parts.ts';

/** When the policy starts again from what was found, and how it learns that. */
export interface CycleRule {
  /** Parts of the stage; between two of them the policy is refitted. */
  readonly count: number;
  /** Updates of maximum likelihood in one refit. */
  readonly updates: number;
  readonly learningRate: number;
  /** Parameters of the reference, from which each refit starts. */
  readonly start: Float32Array;
}

/** Whether the policy is refitted before this update: at the start of every cycle but the first. */
export function startsCycle(count: number, updates: number, update: number): boolean {
  for (let cycle = 1; cycle < count; cycle++) if (Math.round((cycle * updates) / count) === update) return true;
  return false;
}

export interface RefitParts extends Memory {
  readonly attacker: Attacker;
  readonly policy: PolicySession;
  readonly cells?: CellParts;
}

export interface RefitOptions {
  readonly cycles: CycleRule;
  readonly batchSize: number;
  readonly gradientClip: number;
  readonly seed: number;
  readonly spread?: SpreadRule;
}

/** Successes that weigh by 1 / neighbours where they are counted, so that each way weighs the same. */
function weightsOf(successes: readonly ReplayEntry[], { pool }: Memory, { spread }: RefitOptions): number[] {
  return successes.map(({ embedding }) => {
    if (pool === undefined || spread === undefined || embedding === undefined) return 1;
    return 1 / Math.max(1, pool.near(embedding, spread.cosine));
  });
}

/** Successes of one cell, which one batch draws from. */
interface Successes {
  readonly cell: string | undefined;
  readonly entries: readonly ReplayEntry[];
  readonly weights: readonly number[];
  readonly total: number;
}

function successesOf(parts: RefitParts, options: RefitOptions): Successes[] {
  return memoriesOf(parts).flatMap(([cell, memory]) => {
    const entries = memory.buffer.all().filter(({ score }) => isUnsafe(score.meanUnsafe));
    const weights = weightsOf(entries, memory, options);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return entries.length === 0 ? [] : [{ cell, entries, weights, total }];
  });
}

/** The cell that one batch is of: by the weights of their successes. */
function chooseSuccesses(all: readonly Successes[], stream: RandomStream): Successes {
  if (all.length === 1) return all[0] as Successes;
  const totals = all.map(({ total }) => total);
  const sum = totals.reduce((a, b) => a + b, 0);
  return all[draw(totals, sum, stream)] as Successes;
}

function draw(weights: readonly number[], total: number, stream: RandomStream): number {
  let left = stream.nextFloat() * total;
  for (const [i, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return i;
  }
  return weights.length - 1;
}

/** Undoes a refit: policy and optimizer are as they were before it. */
export type UndoRefit = () => void;

function snapshot({ data }: { readonly data: Float32Array }, optimizer: AdamWState): UndoRefit {
  const before = { data: data.slice(), first: optimizer.firstMoment.slice(), second: optimizer.secondMoment.slice() };
  const { step } = optimizer;
  return () => {
    data.set(before.data);
    optimizer.firstMoment.set(before.first);
    optimizer.secondMoment.set(before.second);
    optimizer.step = step;
  };
}

/**
 * Starts a cycle: the policy goes back to the reference and learns the buffer's successes by maximum likelihood, as
 * smoothing does at the end of a run; the optimizer starts again. Each batch is of one cell. It asks nobody. A head behind the reference's
 * parameters (log Z) stays as it is. Without a success nothing changes.
 *
 * @throws FloodgateError `interrupted` on abort; policy and optimizer are then as they were.
 */
export async function refit(
  parts: RefitParts,
  options: RefitOptions,
  run: { readonly optimizer: AdamWState; readonly update: number; readonly signal: AbortSignal | undefined },
): Promise<UndoRefit> {
  const { attacker, policy } = parts;
  const { cycles, batchSize, gradientClip, seed } = options;
  const undo = snapshot(policy.parameters, run.optimizer);
  const successes = successesOf(parts, options);
  if (successes.length === 0) return undo;
  policy.parameters.data.set(cycles.start);
  const optimizer = createAdamWState(policy.parameters.data.length);
  for (let step = 0; step < cycles.updates; step++) {
    if (run.signal?.aborted) {
      undo();
      throw new FloodgateError('interrupted', `refit before update ${run.update}: interrupted`);
    }
    const stream = randomStream(seed, 'refit', run.update, step);
    const { cell, entries, weights, total } = chooseSuccesses(successes, stream);
    const rows = Array.from({ length: batchSize }, () =>
      attacker.rowOf(entries[draw(weights, total, stream)] as ReplayEntry),
    );
    const tokens = rows.reduce((sum, row) => sum + row.length, 0);
    policy.clearGradient();
    await policy.step(
      { prompt: attacker.promptOf(cell), rows },
      { minTokens: attacker.spec.minTokens },
      new Float32Array(rows.length),
      directWeights(new Float32Array(rows.length).fill(-1 / tokens)), // d/d(log pi) of -sum log pi / tokens
    );
    const learningRate = [{ start: 0, end: cycles.start.length, learningRate: cycles.learningRate }];
    optimizerStep(policy, optimizer, { gradientClip, learningRate });
  }
  run.optimizer.firstMoment.fill(0);
  run.optimizer.secondMoment.fill(0);
  run.optimizer.step = 0;
  return undo;
}
