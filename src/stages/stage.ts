import type { FloodgateError } from '../base/errors.ts';
import type { ProgressSink } from '../base/progress.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { Judge } from '../judges/judge.ts';
import type { SampledAttack } from '../learning/attack.ts';
import type { Attacker } from '../learning/attacker.ts';
import type { SearchElsewhere } from '../learning/loops/draw-plan.ts';
import type { TakenOrder } from '../learning/loops/gflownet-parts.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import type { Divergence } from '../models/decoder/divergence.ts';
import type { SentenceEncoder } from '../models/encoder/text-encoder.ts';
import type { ConfigProblem } from '../runs/config/config-problems.ts';
import type { ModelEntry } from '../runs/manifest.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import type { RunStore } from '../runs/store/run-store.ts';
import type { Target } from '../targets/target.ts';
import type { BudgetCaps } from '../trial/budget.ts';
import type { Calls } from '../trial/ledger.ts';
import type { KnownWorld } from '../worlds/world-registry.ts';
import type { Config, Section } from './config/config.ts';
import type { SeedSet } from './config/seeds.ts';

/** A campaign's surroundings, from its caller. */
export interface CampaignIo {
  readonly progress: ProgressSink;
  readonly signal: AbortSignal;
  /** Folder of the model cache. */
  readonly cacheDir?: string;
  /** Caps of this start, over those of the config. */
  readonly budget?: BudgetCaps;
  /** True: no answer is taken from the log of the run; every call is made again. */
  readonly asksAgain?: boolean;
}

/** How a stage wants its searches on workers. */
export interface SearchRequest {
  readonly stage: string;
  /** Flat parameters of the reference. */
  readonly reference: Float32Array;
  /** Attacks are screened: workers open the encoder. */
  readonly screens: boolean;
  /** Responses to each attack at first. */
  readonly responses: number;
}

/** Searches on workers, open. */
export interface OpenedSearch {
  readonly search: SearchElsewhere;
  readonly takenOrder: TakenOrder;
  /**
   * Takes over the answers to the attacks of an update that Ctrl-C left to workers. Returns what lets Redis forget them,
   * when they are stored.
   */
  collect(update: number): Promise<() => void>;
  close(): Promise<void>;
}

/** Everything that a stage works with, open. */
export interface Campaign {
  readonly folder: RunFolder;
  readonly config: Config;
  readonly store: RunStore;
  readonly io: CampaignIo;
  readonly seeds: SeedSet;
  /** The synthetic world that the run is in; undefined for a run on real models. */
  readonly world: KnownWorld | undefined;
  readonly compute: ComputeOptions;
  readonly attackerModel: DecoderCheckpoint;
  /** The attacker of SFT and of every stage that trains the same weights. */
  readonly attacker: Attacker;
  /** The attacker of a stage: `attacker`, but for one that trains every weight. Open as long as the campaign. */
  attackerOf(stage: string): Promise<Attacker>;
  /** The target of training. */
  readonly target: Target;
  /** The target of evaluations: in fp32, whatever the target of training. */
  readonly evaluationTarget: Target;
  /** The model behind the target; undefined for a target without one on this machine. */
  readonly targetModel: DecoderCheckpoint | undefined;
  /** Divergence of a training target in int8 from itself in fp32; undefined in fp32. */
  readonly targetInt8: Divergence | undefined;
  readonly encoder: SentenceEncoder;
  /** The judge that rewards. */
  readonly trainingJudge: Judge;
  readonly evaluationJudges: readonly Judge[];
  readonly models: readonly ModelEntry[];
  /** Definition of a stage. @throws FloodgateError `usage` for an unknown name. */
  stage(name: string): Stage;
  /** Opens searches on the run's workers; absent without a queue. */
  openSearch?(request: SearchRequest): Promise<OpenedSearch>;
  /** Why the budget has ended the run; undefined while it has not. */
  budgetSpent?(): FloodgateError | undefined;
  close(): Promise<void>;
}

/** Attacks drawn from an attacker, as evaluation takes them; `logPi` is absent where the attacker has no density. */
export type DrawnAttack = Omit<SampledAttack, 'logPi'> & { readonly logPi?: number };

export interface DrawPlan {
  readonly seed: number;
  /** Of the attacker; 1 is the distribution that it was trained to match. */
  readonly temperature: number;
}

export interface DrawnBatch {
  readonly attacks: readonly DrawnAttack[];
  /**
   * The cost of drawing: attackers such as best-of-n ask the target while they write. Includes the attacker's tokens.
   */
  readonly cost: Calls;
}

/** An attacker as evaluation sees it. Attack i of a plan is the same whatever batch it is drawn in. */
export interface AttackDraw {
  /** Attacks `first` to `first + count - 1`. */
  draw(first: number, count: number, plan: DrawPlan): Promise<DrawnBatch>;
  close(): Promise<void>;
}

/** Work of a stage, in upper bounds. */
export interface StageWork {
  /** Attacks that the attacker writes. */
  readonly attacks: number;
  /** Attacks sent to the target, `responses` times each. */
  readonly tried: number;
  /** At most; `target.responses` when absent. */
  readonly responses?: number;
  /** Rows that gradients are taken of. */
  readonly trainedRows: number;
  /** Rows of one forward and backward pass: they decide the memory of training. */
  readonly passRows: number;
}

export interface PlanContext {
  /** Seed attacks at hand. */
  readonly seeds: number;
  /** Work of another stage by the same config, whether the run trains it or not. */
  workOf(stage: string): StageWork | undefined;
  /** True of a stage that the run trains. */
  isTrained(stage: string): boolean;
}

/** The wanted stages and all that they need, directly or not. */
export function neededStages(wanted: readonly string[], stage: (name: string) => Stage): Set<string> {
  const needed = new Set<string>();
  const add = (name: string): void => {
    if (needed.has(name)) return;
    needed.add(name);
    for (const each of stage(name).needs) add(each);
  };
  for (const name of wanted) add(name);
  return needed;
}

/** Plans of a config's stages. One stage's plan may ask for another's. */
export function createPlanContext(config: Config, seeds: number, stage: (name: string) => Stage): PlanContext {
  const trained = neededStages(config.attackers, stage);
  const context: PlanContext = {
    seeds,
    workOf: (name) => stage(name).plan?.(config, context),
    isTrained: (name) => trained.has(name),
  };
  return context;
}

/** The plans of a campaign's stages. */
export function planContextOf({ config, seeds, stage }: Pick<Campaign, 'config' | 'seeds' | 'stage'>): PlanContext {
  return createPlanContext(config, seeds.attacks.length, stage);
}

export interface StageWords {
  /** Place among the attackers that a report leads with, 1 first; absent for a baseline. The best result never decides. */
  readonly lead?: number;
  /** A name that fits a table's first column. */
  readonly label: string;
  /** One sentence for a reader who does not know the method. */
  readonly explain: string;
  /** How the attacker learned to write its attacks, to follow a colon; absent for one that learned nothing. */
  readonly learning?: string;
}

/** One attacker that a run can train and measure: everything that differs from stage to stage, in one file. */
export interface Stage {
  /** In the config, the database and on the command line. */
  readonly name: string;
  /** Stages that must be trained before. */
  readonly needs: readonly string[];
  /** Sections of the config that it owns; stages may share one. */
  readonly sections: readonly Section<unknown>[];
  readonly words: StageWords;
  /**
   * `no`: never asks the target. `asks`: asks it for others to learn, and stays the attacker of SFT. `learns`: learns by
   * asking it. `given`: is drawn from the truth itself.
   */
  readonly knowsTarget: 'no' | 'asks' | 'learns' | 'given';
  /** Its attacks can be scored under the parameters that it left. */
  readonly hasDensity: boolean;
  /** Why its attacks are not independent draws of one distribution; absent where they are. */
  readonly dependence?: string;
  /** The stage whose attacks it learns by maximum likelihood. */
  readonly smooths?: string;
  /** True when it trains every weight where the others train an adapter. */
  trainsEveryWeight?(config: Config): boolean;
  /** Rules between keys. Returns what is broken. `isWanted`: an attacker of the config is it or needs it. */
  check?(config: Config, isWanted: boolean): ConfigProblem[];
  /**
   * Checks at the start of a run, with its models open, what the config alone does not tell.
   * @throws FloodgateError `config`.
   */
  checkModels?(campaign: Campaign): void | Promise<void>;
  /** The work of training; absent for a stage that is not trained. */
  plan?(config: Config, context: PlanContext): StageWork;
  /** Attacks tried on the target while an evaluation draws; absent where drawing asks nothing. */
  planDraw?(config: Config, context: PlanContext): number;
  /** Trains it; resumes from its last checkpoint. Absent for a stage that is only drawn from. */
  run?(campaign: Campaign): Promise<void>;
  /** Attacks that an evaluation can draw at most; absent where there is no end of them. */
  mostAttacks?(campaign: Campaign): Promise<number>;
  /** Opens the source of attacks for evaluation; when absent, that is the trained policy. Close it when done. */
  open?(campaign: Campaign): Promise<AttackDraw>;
}

/** True of a stage whose training leaves a policy of its own, as a checkpoint. */
export function leavesPolicy({ run, open }: Stage): boolean {
  return run !== undefined && open === undefined;
}

/** A broken rule at a dotted key. */
export function problemAt(path: string, what: string): ConfigProblem {
  return { path: path.split('.'), isKey: false, message: `${path}: ${what}` };
}

/** The problem of a warm-up that lasts longer than the stage, if it does. */
export function checkWarmup(
  key: string,
  { warmupUpdates, updates }: { readonly warmupUpdates: number; readonly updates?: number | undefined },
): ConfigProblem[] {
  if (updates === undefined || warmupUpdates <= updates) return [];
  return [problemAt(`${key}.warmupUpdates`, `got ${warmupUpdates}, expected at most ${key}.updates (${updates})`)];
}
