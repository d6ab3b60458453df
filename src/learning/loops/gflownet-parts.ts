import type { AdamWState } from '../../engine/optimizer/adamw.ts';
import type { LearningRateRule } from '../../engine/optimizer/learning-rate.ts';
import type { PolicySession } from '../../models/decoder/policy-session.ts';
import type { Attacker, AttackerState } from '../attacker.ts';
import type { Objective } from '../objectives/objectives.ts';
import type { ReplayBuffer } from '../replay/replay-buffer.ts';
import type { FluencyRule } from '../reward/fluency.ts';
import type { RewardRule } from '../reward/reward.ts';
import type { RewardFunction } from '../reward/reward-function.ts';
import type { LoopControl } from './update-loop.ts';

export interface GflownetOptions {
  readonly objective: Objective;
  readonly updates: number;
  /** Rows of one micro-batch. */
  readonly batchSize: number;
  /** Micro-batches of one update. */
  readonly accumulation: number;
  readonly learningRate: LearningRateRule;
  readonly logZLearningRate: LearningRateRule;
  readonly gradientClip: number;
  readonly weightDecay: number;
  readonly reward: RewardRule;
  readonly fluency: FluencyRule;
  readonly truncationPenalty: boolean;
  /** Share of each update that the attacker writes; the rest is replay. */
  readonly freshShare: number;
  /** Share of the fresh attacks drawn at a temperature from U(low, high). */
  readonly temperedShare: number;
  readonly temperatures: { readonly low: number; readonly high: number };
  readonly replayBy: 'judge' | 'reward' | 'uniform';
  /** New responses for replayed attacks; their scores average over all responses so far. */
  readonly rescoreReplay: boolean;
  readonly seed: number;
}

/** One row of an update, as it is logged. */
export interface GflownetRow<Evidence> {
  readonly source: 'fresh' | 'tempered' | 'replay';
  readonly tokens: readonly number[];
  readonly terminated: boolean;
  readonly text: string;
  readonly logPi: number;
  readonly fluency: number;
  /** log p_ref of the attack; absent for a replayed row. */
  readonly logPRef?: number;
  readonly logReward: number;
  readonly meanUnsafe: number;
  /** Absent for a replayed row that kept its score. */
  readonly evidence?: Evidence;
}

export interface GflownetUpdate<Evidence> {
  readonly update: number;
  readonly loss: number;
  readonly logZ: number | undefined;
  /** Standard deviation of the residuals, nats. */
  readonly residualSpread: number;
  readonly gradientNorm: number;
  readonly rows: readonly GflownetRow<Evidence>[];
  /** Fresh attacks that no judge could score: dropped from the update. */
  readonly unscored: readonly {
    readonly text: string;
    readonly tokens: readonly number[];
    readonly evidence: Evidence;
  }[];
  /** Tokens written by the attacker. */
  readonly attackTokens: number;
  readonly bufferSize: number;
  readonly nearDuplicates: number;
  readonly seconds: number;
}

export interface GflownetParts<Evidence> {
  readonly attacker: Attacker;
  readonly policy: PolicySession;
  /** The frozen reference p_ref. */
  readonly reference: AttackerState;
  readonly buffer: ReplayBuffer;
  readonly reward: RewardFunction<Evidence>;
  /** Embeds texts when the buffer tells near-duplicates by cosine. */
  readonly embed?: (texts: readonly string[]) => Promise<Float32Array[]>;
}

export interface GflownetRun<Evidence> {
  readonly control: LoopControl;
  readonly from: number;
  readonly optimizer: AdamWState;
  /** JSON-safe state of the caller that belongs into each checkpoint. */
  extra?(): unknown;
  /** Called after each update; returning true ends the stage. */
  onUpdate(update: GflownetUpdate<Evidence>): Promise<boolean>;
}
