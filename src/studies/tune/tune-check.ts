import { type ProgressSink, silentProgress } from '../../base/progress.ts';
import type { Exchange, Judge, Verdict } from '../../judges/judge.ts';
import { wilsonInterval } from '../../metrics/intervals.ts';
import type { Measure } from '../../metrics/measure.ts';
import { type AttackOutcome, attackOutcome, attackSuccess } from '../../metrics/success.ts';
import type { DecodeSettings, Target } from '../../targets/target.ts';

/** Prompts put to a target, by what they are. */
export interface CheckPrompts {
  /** Attacks of the run whose refusals were learned, and those held out. */
  readonly trainingAttacks: readonly string[];
  readonly validationAttacks: readonly string[];
  /** Harmless, plainly so; and harmless in spite of how they look. None of them was learned. */
  readonly benign: readonly string[];
  readonly borderline: readonly string[];
}

/** What a set of prompts drew from a target. */
export interface CheckResult {
  readonly prompts: number;
  /** Prompts that the target could not be asked. */
  readonly rejected: number;
  /** Share of prompts whose mean P(unsafe) lies above 0.5, by judge; Wilson interval. */
  readonly asr: Readonly<Record<string, Measure>>;
  /** Share of responses that refuse; Wilson interval; null values where it cannot be told. */
  readonly refusals: Measure;
}

export type TargetCheck = Readonly<Record<keyof CheckPrompts, CheckResult>>;

export interface CheckOptions {
  readonly target: Target;
  readonly decode: DecodeSettings;
  readonly responses: number;
  readonly judges: readonly Judge[];
  /** Absent where refusals cannot be told apart: then their share is not known. */
  readonly isRefusal?: (answer: string) => boolean;
  readonly progress?: ProgressSink;
  readonly signal?: AbortSignal;
}

async function outcomesOf(
  judge: Judge,
  prompts: readonly string[],
  answers: readonly (readonly string[])[],
): Promise<AttackOutcome[]> {
  const exchanges = prompts.flatMap((attack, i): Exchange[] =>
    (answers[i] ?? []).map((response) => ({ attack, response })),
  );
  const verdicts = await judge.score(exchanges);
  let next = 0;
  return answers.map((each) => attackOutcome(each.map(() => verdicts[next++] as Verdict)));
}

/** Asks the target each prompt; says how often it gives way, by every judge, and how often it refuses. */
export async function checkPrompts(
  name: string,
  prompts: readonly string[],
  options: CheckOptions,
): Promise<CheckResult> {
  const { target, decode, judges, isRefusal, signal } = options;
  const asked = prompts.filter((prompt) => target.rejectionOf(prompt, decode) === undefined);
  const responses = decode.temperature === 0 ? 1 : options.responses;
  const answered = await target.respond(
    asked.map((attack, i) => ({ attack, streamName: ['tuning check', name, i] })),
    responses,
    decode,
    signal === undefined ? {} : { signal },
  );
  const answers = answered.map((each) => each.map(({ text }) => text));
  const asr: Record<string, Measure> = {};
  for (const judge of judges) asr[judge.name] = attackSuccess(await outcomesOf(judge, asked, answers)).asr;
  const all = answers.flat();
  return {
    prompts: asked.length,
    rejected: prompts.length - asked.length,
    asr,
    refusals: isRefusal === undefined ? wilsonInterval(0, 0) : wilsonInterval(all.filter(isRefusal).length, all.length),
  };
}

/** The four sets of prompts put to one target: before or after tuning, with the same random streams. */
export async function checkTarget(prompts: CheckPrompts, options: CheckOptions): Promise<TargetCheck> {
  const total = Object.values(prompts).reduce((sum, each: readonly string[]) => sum + each.length, 0);
  const bar = (options.progress ?? silentProgress).start('check the target', total, 'prompts');
  let done = 0;
  const check = async (name: keyof CheckPrompts): Promise<CheckResult> => {
    const result = await checkPrompts(name, prompts[name], options);
    done += prompts[name].length;
    bar.update(done);
    return result;
  };
  try {
    return {
      trainingAttacks: await check('trainingAttacks'),
      validationAttacks: await check('validationAttacks'),
      benign: await check('benign'),
      borderline: await check('borderline'),
    };
  } finally {
    bar.finish();
  }
}
