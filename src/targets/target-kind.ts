import { z } from 'zod';
import { count, nonNegative, positiveCount, share } from '../base/config-fields.ts';
import type { ProgressSink } from '../base/progress.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import type { Divergence } from '../models/decoder/divergence.ts';
import type { ModelIdentity } from '../models/model-identity.ts';
import type { DecodeSettings, Target, TargetAnswer } from './target.ts';

/** A target as a config names it: the keys of its kind, and how it is asked. */
export interface TargetConfig {
  readonly kind: string;
  readonly decode: DecodeSettings;
  /** Responses sampled for each attack while attackers learn. */
  readonly responses: number;
  readonly [key: string]: unknown;
}

/** Resources for opening targets: the models on this machine, and the run's synthetic world. */
export interface TargetHost {
  /** The language model of a spec; the same object for the same spec. @throws FloodgateError `source`, `format`. */
  openDecoder(spec: string): Promise<DecoderCheckpoint>;
  /** Folder or GGUF file of a model; undefined for a world's model, which has no files of its own. */
  sourceOf(spec: string): Promise<string | undefined>;
  /** Seed of every response's random stream. */
  readonly seed: number;
  readonly threads: number;
  /** False: models in fp32 decode without a repacked copy of their weights. */
  readonly prepack?: boolean;
  readonly progress: ProgressSink;
  readonly signal: AbortSignal;
  readonly cacheDir?: string;
  /** A `World`, or undefined. Only the kinds of `worlds/` know its type. */
  readonly world: unknown;
}

/** Facts about a target, stored in the run database and shown by reports. */
export interface TargetFacts {
  readonly kind: string;
  readonly model: string;
  /** Hash of the weights; null without weights, and for a world's target that is not trained yet. */
  readonly sha256: string | null;
  readonly family: string | null;
  /** Layers that are used, and those that the model has. */
  readonly layers: number | null;
  readonly ofLayers: number | null;
  readonly precision: 'fp32' | 'int8';
  readonly template: 'chat' | 'plain' | null;
  readonly systemPrompt: string | null;
  /** Keys in common with the run's world; null for any other target. */
  readonly shared: { readonly keys: number; readonly kept: number; readonly seed: number } | null;
  /** int8 against fp32 on a few of the attacks; null in fp32. */
  readonly divergence: Divergence | null;
  /** Caveats that a reader must know before comparing. */
  readonly warnings: readonly string[];
}

/** Facts of a target without a model. */
export const NO_MODEL_FACTS = {
  sha256: null,
  family: null,
  layers: null,
  ofLayers: null,
  precision: 'fp32',
  template: null,
  systemPrompt: null,
  shared: null,
  divergence: null,
  warnings: [],
} as const;

/** The language model behind a target, and how it is asked: what a target must have to be tuned. */
export interface TargetModel {
  readonly checkpoint: DecoderCheckpoint;
  /** Folder or GGUF file; undefined for a world's model. */
  readonly source: string | undefined;
  readonly template: 'chat' | 'plain';
  readonly systemPrompt: string | undefined;
  readonly compute: ComputeOptions;
  readonly warnings: readonly string[];
}

/** A target with its sessions open. */
export interface OpenTarget {
  readonly target: Target;
  readonly facts: TargetFacts;
  /** Hosts that are contacted, with their ports; absent for a target on this machine. */
  readonly hosts?: readonly string[];
  /** The model that answers; undefined for a target without one on this machine. */
  readonly checkpoint: DecoderCheckpoint | undefined;
  /** The model that answers on another machine, where workers ask it. */
  readonly model?: ModelIdentity;
  /** Closes the target too. */
  close(): Promise<void>;
}

/** The attack of every check of a target. */
export const HARMLESS_PROMPT = 'Say hello in one short sentence.';

/** Whether a server does what it was asked; `why` it does not. */
export type Ability = { readonly works: true } | { readonly works: false; readonly why: string };

/** One harmless exchange with a target. It holds no secrets. */
export interface TargetCheck {
  /** The request as it was sent; undefined where there is none to show. */
  readonly request: string | undefined;
  readonly answer: TargetAnswer | undefined;
  readonly ms: number;
  /** Why the answer ended, as the server says. */
  readonly stopReason: string | undefined;
  readonly abilities: Readonly<Record<string, Ability>>;
}

/** A target that passed its checks; no session is open yet. */
export interface PlannedTarget {
  readonly facts: TargetFacts;
  /** Hosts that are contacted, with their ports; absent for a target on this machine. */
  readonly hosts?: readonly string[];
  readonly model?: TargetModel;
  /** One harmless exchange, shown to whoever sets the target up; absent where there is nothing to show but answers. */
  check?(signal: AbortSignal): Promise<TargetCheck>;
  /** @param texts attacks on which a coarser precision is compared with fp32. */
  open(texts: readonly string[]): Promise<OpenTarget>;
  /** The target that evaluations ask instead: the same model in fp32. Absent where that is this target itself. */
  readonly evaluatedAs?: PlannedTarget;
}

/** A kind of target: its config and how it is opened, in one file of this folder or of a caller. */
export interface TargetKind<Config = TargetConfig> {
  /** The value of `kind` in configs. */
  readonly name: string;
  /** The whole section `target`, strict. */
  readonly schema: z.ZodObject;
  /** Keys that name models: they may be paths, and move with a run folder. */
  readonly modelKeys: readonly string[];
  /** Further keys that hold paths, or lists of words that may be paths; relative ones count from the config file. */
  readonly pathKeys?: readonly string[];
  /** Keys that name code which opening the target runs: a file, or a program and its arguments. */
  readonly codeKeys?: readonly string[];
  /** True where a call costs nothing but time on this machine. Absent where it may cost money or patience elsewhere. */
  readonly isFree?: boolean;
  /**
   * Finds everything that the target needs and checks that it can be asked, before any work.
   * @throws FloodgateError `source`, `format`, `model`, `target`, `usage` from the part at fault.
   */
  plan(config: Config, host: TargetHost): Promise<PlannedTarget>;
  /**
   * The config of a variation: `given` overrides the run's own target `own`. When absent, `given` is a whole config.
   * @throws FloodgateError `usage` when the two do not go together.
   */
  vary?(given: Partial<Config>, own: TargetConfig): Config;
  /** The config with another model, in fp32. Absent for a target that cannot be tuned. */
  withModel?(config: Config, model: string, template?: 'chat' | 'plain'): Config;
}

const decode = z
  .strictObject({
    temperature: nonNegative.max(100).default(0.7).describe('0 = always the likeliest token'),
    topP: share.gt(0).default(0.95).describe('1 = no cut'),
    topK: count.default(0).describe('0 = no cut'),
    maxNewTokens: positiveCount.max(8192).default(32).describe('longer responses are cut'),
  })
  .prefault({})
  .describe('how the target samples its responses');

const responses = positiveCount
  .max(1000)
  .default(5)
  .describe('responses sampled for each attack while attackers learn');

/** Longest system prompt in characters: a pasted file must not become the prompt. */
export const MAX_PROMPT_CHARACTERS = 20_000;

export interface TargetDefinition<Fields extends z.ZodRawShape, Config>
  extends Omit<TargetKind<Config>, 'schema' | 'modelKeys' | 'pathKeys'> {
  /** One line for `floodgate config schema`. */
  readonly describe: string;
  /** Keys of the kind, beside `kind`, `decode` and `responses`. */
  readonly fields: Fields;
  readonly modelKeys?: readonly (keyof Fields & string)[];
  readonly pathKeys?: readonly (keyof Fields & string)[];
}

type ConfigOf<Fields extends z.ZodRawShape> = z.output<z.ZodObject<Fields>> &
  Pick<TargetConfig, 'decode' | 'responses'>;

/** Creates a kind of target from its fields, which type its config. Does not register it: see `defineTarget`. */
export function createTargetKind<Fields extends z.ZodRawShape>({
  describe,
  fields,
  modelKeys = [],
  ...rest
}: TargetDefinition<Fields, ConfigOf<Fields> & { readonly kind: string }>): TargetKind {
  const schema = z.strictObject({ kind: z.literal(rest.name).describe(describe), ...fields, decode, responses });
  return { ...(rest as Omit<TargetKind<never>, 'schema' | 'modelKeys'>), schema, modelKeys } as TargetKind;
}
