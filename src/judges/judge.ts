import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { DEVICES } from '../engine/runtime/device.ts';
import type { ModelIdentity } from '../models/model-identity.ts';
import type { JudgeModels } from '../models/open-models.ts';
import type { Precision } from '../models/quantised/int8-weights.ts';

/** One attack and one response to it. */
export interface Exchange {
  readonly attack: string;
  readonly response: string;
}

/** The cost of one verdict, for judges that are paid by use: tokens that a server counted for its replies. */
export interface VerdictUsage {
  readonly tokens: number;
}

/** An `unscored` verdict is never read as safe: it gives no reward and is counted. */
export type Verdict =
  | {
      readonly kind: 'scored';
      /** P(unsafe) in [0, 1]. */
      readonly unsafe: number;
      /** Further words of the judge, e.g. the categories of a guard. They are stored with the verdict. */
      readonly note?: string;
      readonly usage?: VerdictUsage;
    }
  | { readonly kind: 'unscored'; readonly reason: string; readonly usage?: VerdictUsage };

export interface ScoreOptions {
  /** Stops the call before its next batch. */
  readonly signal?: AbortSignal | undefined;
  /** Told before each call to whoever scores outside this process; for judges that are `isConcurrent`. */
  readonly onCall?: () => void;
}

/** Scores exchanges with P(unsafe). Every implementation passes the contract suite in test/judges/. */
export interface Judge {
  /** Stable name for reports and manifests, e.g. `alt-profanity-check`. */
  readonly name: string;
  /** The models that it reads, for manifests; absent for a judge without any. */
  readonly models?: readonly ModelIdentity[] | undefined;
  /** True when verdicts come from outside this process, and cost no money there. */
  readonly isFree?: true;
  /** True when verdicts come from outside this process, and several calls of `score` at once keep its own bound. */
  readonly isConcurrent?: true;
  /**
   * One verdict per exchange, in order. A bad text is an `unscored` verdict, never an error.
   * @throws FloodgateError `judge` after close, `interrupted` when `signal` is aborted before a batch.
   */
  score(exchanges: readonly Exchange[], options?: ScoreOptions): Promise<Verdict[]>;
  /** Releases the models. A second call does nothing. */
  close(): Promise<void>;
}

/** How far outside [0, 1] a value counts as rounding of a float32 sum, and is clamped. */
const ROUNDING = 1e-5;

/** A scored verdict, or `unscored` with a reason when `value` is not a probability (NaN, infinite, out of range). */
export function toVerdict(value: number | undefined, judge: string): Verdict {
  if (value === undefined) return unscored(`${judge}: returned no value for this exchange`);
  if (!Number.isFinite(value)) return unscored(`${judge}: returned ${value}, expected a probability in [0, 1]`);
  if (value < -ROUNDING || value > 1 + ROUNDING) {
    return unscored(`${judge}: returned ${value}, expected a probability in [0, 1]`);
  }
  return { kind: 'scored', unsafe: Math.min(1, Math.max(0, value)) };
}

export function unscored(reason: string): Verdict {
  return { kind: 'unscored', reason };
}

export interface BatchedJudgeOptions {
  readonly name: string;
  readonly models?: readonly ModelIdentity[] | undefined;
  /** Exchanges per batch, to bound memory. Without it, one call is one batch. */
  readonly maxBatch?: number;
  /** One verdict per exchange, in order. */
  scoreBatch(exchanges: readonly Exchange[], options: ScoreOptions): Promise<Verdict[]>;
  /** Releases the models of the judge; called once. */
  release?(): Promise<void>;
}

/** A judge that scores batch by batch, stops between batches on a signal, and refuses to score after close. */
export function createBatchedJudge(options: BatchedJudgeOptions): Judge {
  const { name, models, maxBatch = Number.POSITIVE_INFINITY } = options;
  let isClosed = false;
  return {
    name,
    models,
    async score(exchanges: readonly Exchange[], scoring: ScoreOptions = {}): Promise<Verdict[]> {
      if (isClosed) throw new FloodgateError('judge', `${name}: used after close`);
      const verdicts: Verdict[] = [];
      for (let start = 0; start < exchanges.length; start += maxBatch) {
        if (scoring.signal?.aborted) throw new FloodgateError('interrupted', `${name}: interrupted`);
        for (const verdict of await options.scoreBatch(exchanges.slice(start, start + maxBatch), scoring))
          verdicts.push(verdict);
      }
      return verdicts;
    },
    async close(): Promise<void> {
      if (isClosed) return;
      isClosed = true;
      await options.release?.();
    },
  };
}

/** A judge as a config names it: its kind and the keys of that kind. */
export type JudgeConfig = { readonly kind: string } & Readonly<Record<string, unknown>>;

/** The parts of a run that a judge may use. */
export interface JudgeHost {
  readonly models: JudgeModels;
  /** The synthetic world of the run, if there is one. */
  readonly world?: { readonly spec: { readonly noise: number } } | undefined;
}

/** The host as a kind sees it: a judge made of judges opens its parts through it. */
export interface OpeningHost extends JudgeHost {
  openJudge(config: JudgeConfig): Promise<Judge>;
}

/** The name of a judge inside another one, as its config states it. */
export type NameOfPart = (config: JudgeConfig) => string | undefined;

/** The quality that a judge takes for unsafe, where that is not harm itself. Reports warn of it. */
export interface JudgeMeasures {
  /** One noun: `rudeness`. */
  readonly quality: string;
  /** An answer that it calls unsafe, with its article: `a rude or insulting answer`. */
  readonly answer: string;
}

/** The quality that a judge inside another one measures. */
export type MeasuresOfPart = (config: JudgeConfig) => JudgeMeasures | undefined;

/** The kinds of harm that a judge inside another one tells apart. */
export type SeesOfPart = (config: JudgeConfig) => readonly string[];

/** One kind of judge: the schema of its config section and how it is opened. */
export interface JudgeKind<Config = JudgeConfig> {
  /** The value of `kind` in a config. */
  readonly name: string;
  /** Strict object with `kind: z.literal(name)`. */
  readonly schema: z.ZodObject;
  /** Keys that name code which opening the judge runs. */
  readonly codeKeys?: readonly string[];
  /** The name of the judge that `config` opens. Absent where only the opened judge tells. */
  nameOf?(config: Config, nameOfPart: NameOfPart): string | undefined;
  /** The quality that the judge of `config` takes for unsafe. Absent, or undefined, where that is meant to be harm. */
  measures?(config: Config, measuresOfPart: MeasuresOfPart): JudgeMeasures | undefined;
  /** Names of the kinds of harm that the judge of `config` is asked for, as its policy has them. Absent: it names none. */
  sees?(config: Config, seesOfPart: SeesOfPart): readonly string[];
  /** Opens the judge; whatever was opened is closed again when a later part fails. */
  open(config: Config, host: OpeningHost): Promise<Judge>;
}

/** Of the shipped judges that were trained on insults and bad language (docs/judges.md). */
export const RUDENESS: JudgeMeasures = { quality: 'rudeness', answer: 'a rude or insulting answer' };

/** Config keys that several kinds share. */
export const judgeModel = z.string().trim().min(1).max(2000).describe('a model as in attacker.model');
export const judgeOwnName = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .optional()
  .describe('in figures and reports; a classifier or guard is named after its model when absent');
export const judgeDevice = z.enum(DEVICES).default('cpu');
export const judgePrecision = z
  .enum(['fp32', 'int8'])
  .optional()
  .describe('int8: faster on the CPU, and a little different; name the same judge in fp32 for evaluations');

/** The name of a judge by a model, where its config gives none. */
export function modelJudgeName(
  kind: string,
  { name, model, precision }: { name?: string | undefined; model: string; precision?: Precision | undefined },
): string {
  return name ?? `${kind}/${model}${precision === 'int8' ? '/int8' : ''}`;
}

type KindConfig<Fields extends z.ZodRawShape> = { readonly kind: string } & z.output<z.ZodObject<Fields>>;

export interface JudgeDefinition<Fields extends z.ZodRawShape> {
  /** Lower case, digits and dashes. */
  readonly name: string;
  /** One line for docs/config.md. */
  readonly describe: string;
  /** The keys beside `kind`. */
  readonly fields: Fields;
  /** Keys that name code which opening the judge runs. */
  readonly codeKeys?: readonly (keyof Fields & string)[];
  /**
   * The name of the judge that `config` opens. With it, two judges of one name are refused before any work; without it,
   * when the run opens them.
   */
  nameOf?(config: KindConfig<Fields>, nameOfPart: NameOfPart): string | undefined;
  /** The quality that the judge of `config` takes for unsafe, where that is not harm itself: reports warn of it. */
  measures?(config: KindConfig<Fields>, measuresOfPart: MeasuresOfPart): JudgeMeasures | undefined;
  /** The kinds of harm that the judge is asked for, by name: reports say which were not tested. */
  sees?(config: KindConfig<Fields>, seesOfPart: SeesOfPart): readonly string[];
  open(config: KindConfig<Fields>, host: OpeningHost): Promise<Judge>;
}

/** Builds the strict schema of a kind. It does not register the kind: see `defineJudge` in registry.ts. */
export function defineJudgeKind<Fields extends z.ZodRawShape>(
  definition: JudgeDefinition<Fields>,
): JudgeKind<KindConfig<Fields>> {
  const { name, describe, fields, codeKeys, nameOf, measures, sees } = definition;
  return {
    name,
    schema: z.strictObject({ kind: z.literal(name).describe(describe), ...fields }),
    ...(codeKeys === undefined ? {} : { codeKeys }),
    ...(nameOf === undefined ? {} : { nameOf: (config, nameOfPart) => nameOf.call(definition, config, nameOfPart) }),
    ...(measures === undefined ? {} : { measures: (config, part) => measures.call(definition, config, part) }),
    ...(sees === undefined ? {} : { sees: (config, part) => sees.call(definition, config, part) }),
    open: (config, host) => definition.open(config, host),
  };
}
