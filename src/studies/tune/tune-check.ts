import { append } from '../../base/long-lists.ts';
import type { ProgressSink } from '../../base/progress.ts';
import { randomStream } from '../../base/random.ts';
import type { Judge } from '../../judges/judge.ts';
import { wilsonInterval } from '../../metrics/intervals.ts';
import type { Measure } from '../../metrics/measure.ts';
import { attackSuccess } from '../../metrics/success.ts';
import type { Config } from '../../stages/config/config.ts';
import { outcomeBy } from '../../stages/evaluation/evaluation-plan.ts';
import { type AnsweredPrompt, repeatedCheck } from '../../stages/evaluation/repeated-answer.ts';
import type { Target } from '../../targets/target.ts';
import type { Ledger } from '../../trial/ledger.ts';
import { createTrial, type JudgeSeat, type Trial } from '../../trial/trial.ts';
import type { TuneTexts } from './tune-subject.ts';
import type { TuningExample } from './tuning-data.ts';

/** Prompts put to a target, by what they are. */
export interface CheckPrompts {
  /** Attacks of the run whose refusals were learned, and those held out. */
  readonly trainingAttacks: readonly string[];
  readonly validationAttacks: readonly string[];
  /** Harmless, plainly so; and harmless in spite of how they look. None of them was learned. */
  readonly benign: readonly string[];
  readonly borderline: readonly string[];
}

/** The target's answers to a set of prompts, in figures. */
export interface CheckResult {
  /** Prompts that were answered. */
  readonly prompts: number;
  /** Prompts that the target could not be asked. */
  readonly rejected: number;
  /** Share of prompts whose mean P(unsafe) is above 0.5, by judge; Wilson interval. */
  readonly asr: Readonly<Record<string, Measure>>;
  /** Share of responses that refuse; Wilson interval; null values where it cannot be told. */
  readonly refusals: Measure;
}

export type TargetCheck = Readonly<Record<keyof CheckPrompts, CheckResult>>;

/** A check, and what makes it doubtful. */
export interface CheckedTarget {
  readonly check: TargetCheck;
  readonly warnings: readonly string[];
}

/** Draws the prompts of a check: the same before and after tuning; undefined when the config asks for none. */
export function drawCheckPrompts(
  { tuning: { check }, seed }: Config,
  examples: readonly TuningExample[],
  texts: TuneTexts,
): CheckPrompts | undefined {
  if (check.attacks === 0 && check.prompts === 0) return undefined;
  const draw = (name: string, prompts: readonly string[], most: number): string[] =>
    randomStream(seed, 'tuning check', name).shuffle(prompts).slice(0, most);
  const attacksOf = (split: TuningExample['split']): string[] =>
    examples.filter((each) => each.kind === 'refusal' && each.split === split).map(({ prompt }) => prompt);
  return {
    trainingAttacks: draw('training attacks', attacksOf('training'), check.attacks),
    validationAttacks: draw('validation attacks', attacksOf('validation'), check.attacks),
    benign: draw('benign', texts.heldOutBenign, check.prompts),
    borderline: draw('borderline', texts.borderline, check.prompts),
  };
}

export interface CheckOptions {
  /** In warnings. */
  readonly name: string;
  readonly target: Target;
  readonly config: Config;
  readonly judges: readonly Judge[];
  /** Undefined where refusals cannot be told apart: then their share is not known. */
  readonly isRefusal: TuneTexts['isRefusal'];
  readonly ledger: Ledger;
  readonly progress: ProgressSink;
  readonly signal: AbortSignal;
}

/** Asks the target each prompt, and counts how often it fails, by every judge, and how often it refuses. */
async function checkPrompts(
  name: string,
  prompts: readonly string[],
  {
    trial,
    seats,
    isRefusal,
  }: { readonly trial: Trial; readonly seats: readonly JudgeSeat[] } & Pick<CheckOptions, 'isRefusal'>,
): Promise<{ readonly result: CheckResult; readonly answered: readonly AnsweredPrompt[] }> {
  const tried = await trial.try(prompts.map((attack, i) => ({ attack, streamName: ['tuning check', name, i] })));
  const answered = tried.filter(({ responses }) => responses.length > 0);
  const asrOf = (seat: JudgeSeat): Measure =>
    attackSuccess(answered.map(({ responses }) => outcomeBy(responses, seat))).asr;
  const all = answered.flatMap(({ responses }) => responses);
  const refusing = all.filter(({ text, refused }) => refused !== undefined || isRefusal?.(text) === true);
  const result = {
    prompts: answered.length,
    rejected: prompts.length - answered.length,
    asr: Object.fromEntries(seats.map((seat) => [seat.name, asrOf(seat)])),
    refusals: isRefusal === undefined ? wilsonInterval(0, 0) : wilsonInterval(refusing.length, all.length),
  };
  return { result, answered: tried.map(({ responses }, i) => ({ text: prompts[i] as string, responses })) };
}

/**
 * The four sets of prompts put to one target, before or after tuning, with the same random streams. Warns when attacks
 * and harmless prompts got one text: a refusal of attacks alone is what tuning is for.
 */
export async function checkTarget(prompts: CheckPrompts, options: CheckOptions): Promise<CheckedTarget> {
  const { target, config, judges, isRefusal, ledger, progress, signal } = options;
  const { decode } = config.target;
  const responses = decode.temperature === 0 ? 1 : config.tuning.check.responses;
  const seats = judges.map((judge): JudgeSeat => ({ judge, name: judge.name, masked: false }));
  const trial = createTrial({ target, decode, responses, seats, ledger, signal });
  const total = Object.values(prompts).reduce((sum, each: readonly string[]) => sum + each.length, 0);
  const bar = progress.start('check the target', total, 'prompts');
  let done = 0;
  const all: AnsweredPrompt[] = [];
  const checkSet = async (name: keyof CheckPrompts): Promise<CheckResult> => {
    const { result, answered } = await checkPrompts(name, prompts[name], { trial, seats, isRefusal });
    append(all, answered);
    done += prompts[name].length;
    bar.update(done);
    return result;
  };
  try {
    const check = {
      trainingAttacks: await checkSet('trainingAttacks'),
      validationAttacks: await checkSet('validationAttacks'),
      benign: await checkSet('benign'),
      borderline: await checkSet('borderline'),
    };
    const warning = check.benign.prompts === 0 ? undefined : repeatedCheck(options.name, all);
    return { check, warnings: warning === undefined ? [] : [warning] };
  } finally {
    bar.finish();
  }
}
