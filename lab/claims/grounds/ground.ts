import type { Config } from '../../../src/stages/config/config.ts';
import type { NamedTarget } from '../../../src/studies/transfer/transfer-config.ts';
import type { AttackerName } from '../../attackers.ts';

/** Target calls of every attacker in one measurement. */
export const BUDGETS = [500, 2_000, 10_000] as const;

/**
 * Runs that a seed is measured in. `ours`, `baselines` and `draws` are compared; `reference` is the loop of the paper's
 * code, and `today` are the settings before: both on the same engine.
 */
export const ARMS = ['ours', 'baselines', 'draws', 'reference', 'today'] as const;
export type ArmName = (typeof ARMS)[number];

/** One run of a ground. */
export interface ArmRun {
  readonly arm: ArmName;
  readonly seed: number;
  /** Target calls of each attacker while it learns. */
  readonly budget: number;
  /** Of a synthetic world; undefined where the ground has none. */
  readonly worldSeed?: number;
  readonly threads: number;
  /** Those of the arm when absent. */
  readonly attackers?: readonly AttackerName[];
  /** A model in place of the ground's target: one that was tuned. */
  readonly targetModel?: string;
}

/** Targets beside the ground's own: those of C5, and how those of C6 are tuned. */
export interface GroundTargets {
  readonly further: readonly NamedTarget[];
  /** How further and tuned targets are asked, where it is not as the run asks its own. */
  readonly asked: Partial<NamedTarget>;
  /** At most so many of each attacker's evaluation attacks, the first ones; all when absent. */
  readonly attacks?: number;
  /** `tuning.key=value` over the run's config. */
  readonly tuning: readonly string[];
}

/** Where the claims are measured: one file and one line of the registry. */
export interface Ground {
  readonly name: string;
  readonly describe: string;
  /** `world`: the truth is known, and ways are planted. `model`: ways are causes. */
  readonly kind: 'world' | 'model';
  readonly budgets: readonly number[];
  /** Seeds that decide, from 0. */
  readonly seeds: number;
  /** Seed of the first world at so many calls; absent where the ground builds none. 100 more where a world is refused. */
  firstWorldSeed?(budget: number): number;
  /** The attackers of each arm that the ground has. */
  readonly arms: Readonly<Partial<Record<ArmName, readonly AttackerName[]>>>;
  /** The weighting that `smoothing` itself has, where no second attacker is trained with it. */
  readonly ownWeights?: AttackerName;
  /** The config of one run. @throws FloodgateError `config` where a setting does not fit. */
  config(run: ArmRun): Promise<Config>;
  readonly targets: GroundTargets;
}

/** Attackers that every ground compares with ours, each with the smoothing that ours has. */
export const BASELINE_ARM: readonly AttackerName[] = [
  'sft',
  'reinforce',
  'reinforce-smoothing',
  'ppo',
  'ppo-smoothing',
  'best-of-n',
];

/** Attackers that learn nothing while they ask: plain draws, and those that cover most. */
export const DRAWS_ARM: readonly AttackerName[] = ['draws-smoothing', 'covering-smoothing'];

/** Our attacker, and its smoothing. */
export const OURS_ARM: readonly AttackerName[] = ['gflownet', 'smoothing'];
