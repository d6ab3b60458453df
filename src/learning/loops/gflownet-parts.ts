import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { Attacker, AttackerState } from '../attacker.ts';
import type { ScreenRule } from '../proposals/screen.ts';
import type { Surrogate } from '../proposals/surrogate.ts';
import type { MixRule } from '../replay/mixed-draw.ts';
import type { ReplayBuffer } from '../replay/replay-buffer.ts';
import type { LogRewardOf } from '../replay/replay-entry.ts';
import type { WordingClusters } from '../replay/wording-clusters.ts';
import { logRewardAt, type RewardFunction, type RewardRule } from '../reward/reward.ts';
import { type SpreadRule, type SuccessPool, spreadTerm } from '../reward/spread.ts';
import type { AskedBatches, BatchReward } from './asked-batches.ts';
import type { CellCalls } from './cell-calls.ts';
import type { SearchElsewhere } from './draw-plan.ts';
import type { ReferenceRule } from './rollout.ts';

/** How an update gets its rows. */
export interface GatherOptions extends ReferenceRule {
  /** Rows of one micro-batch. */
  readonly batchSize: number;
  /** Micro-batches of one update. */
  readonly accumulation: number;
  readonly reward: RewardRule;
  /** Share of each update that the attacker writes; the rest is replay. */
  readonly freshShare: number;
  /** Share of the fresh attacks drawn at a temperature from U(low, high). */
  readonly temperedShare: number;
  readonly temperatures: { readonly low: number; readonly high: number };
  /** Share of the fresh attacks that rewrite a success of the buffer (see `rewriteRequests`). */
  readonly rewriteShare: number;
  /** Probability that a token of the success is drawn from the policy. */
  readonly rewriteChange: number;
  /** Updates of the whole stage. */
  readonly updates: number;
  /** Updates for each batch of fresh attacks; all but the first learn from the buffer alone. */
  readonly updatesPerBatch: number;
  /** Batches of fresh attacks that are asked ahead: their answers arrive during later updates. */
  readonly askedAhead: number;
  /**
   * Batches are taken in the order in which they are answered, none of them older than so many updates. Absent: in the
   * order of asking.
   */
  readonly maxLag?: number;
  /** Absent: the reward as it is. */
  readonly spread?: SpreadRule;
  /** Absent: every attack that is drawn is tried. */
  readonly screen?: ScreenRule;
  readonly replayBy: 'judge' | 'reward' | 'uniform';
  /** Draws replay by several shares in place of `replayBy`; needs `GflownetParts.clusters`. */
  readonly mix?: MixRule;
  /** New responses for replayed attacks; their scores average over all responses so far. */
  readonly rescoreReplay: boolean;
  readonly seed: number;
}

/** Which batches each update took, where the order is not that of asking: a resume takes the same ones. */
export interface TakenOrder {
  /** Updates that drew the batches which an update took; undefined where it took none yet. */
  at(update: number): readonly number[] | undefined;
  keep(update: number, batches: readonly number[]): void;
}

/** The memory of the attacks that were tried: of one cell, or of all of them for an attacker without cells. */
export interface Memory {
  readonly buffer: ReplayBuffer;
  /** The successes so far, when the reward is spread over ways. */
  readonly pool?: SuccessPool;
  /** The buffer's successes by wording, for a mixed draw. */
  readonly clusters?: WordingClusters;
}

/** The memory of each cell, and how the calls are shared among them. */
export interface CellParts {
  readonly memories: ReadonlyMap<string, Memory>;
  readonly calls: CellCalls;
}

/** With `cells`, the memory is that of one cell at a time: see `inCell`. */
export interface GflownetParts<Evidence> extends Memory {
  /** Of an attacker with cells. */
  readonly cells?: CellParts;
  readonly attacker: Attacker;
  readonly policy: PolicySession;
  /** The frozen reference p_ref. */
  readonly reference: AttackerState;
  readonly reward: RewardFunction<Evidence>;
  /** The reward of a fresh batch. */
  readonly openReward: () => BatchReward<Evidence>;
  /** Batches whose answers are under way. */
  readonly asked: AskedBatches<Evidence>;
  /** Draws fresh attacks elsewhere; absent: this process draws them. */
  readonly search?: SearchElsewhere;
  readonly takenOrder?: TakenOrder;
  /** Predicts scores from the attacks tried so far, when they are screened. */
  readonly surrogate?: Surrogate;
  /** Embeds texts, for a buffer that finds near-duplicates by cosine, for the pool and for the surrogate. */
  readonly embed?: (texts: readonly string[]) => Promise<Float32Array[]>;
}

/** The parts with the memory of a cell; the same parts for an attacker without cells. */
export function inCell<Parts extends Memory & { readonly cells?: CellParts }>(
  parts: Parts,
  cell: string | undefined,
): Parts {
  if (parts.cells === undefined || cell === undefined) return parts;
  const memory = parts.cells.memories.get(cell);
  if (memory === undefined) throw new RangeError(`cells: got ${cell}, which has no memory`);
  return { ...parts, ...memory };
}

/** Every memory, each with its cell; of an attacker without cells, its only one. */
export function memoriesOf(
  parts: Memory & { readonly cells?: CellParts },
): readonly (readonly [string | undefined, Memory])[] {
  return parts.cells === undefined ? [[undefined, parts]] : [...parts.cells.memories];
}

/** log R of attacks under the schedules of one update; spread over ways where the attacks' neighbours were counted. */
export function rewardOf(options: Pick<GatherOptions, 'reward' | 'spread'>, update: number): LogRewardOf {
  const logReward = logRewardAt(options.reward, update);
  const { spread } = options;
  return ({ fluency, score, neighbours }) => {
    const plain = logReward(fluency, score.logS);
    return spread === undefined || neighbours === undefined ? plain : plain + spreadTerm(spread, neighbours);
  };
}
