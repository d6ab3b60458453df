import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { ProgressSink } from '../../base/progress.ts';
import { randomStream } from '../../base/random.ts';
import type { Judge } from '../../judges/judge.ts';
import type { TuningConfig } from '../../stages/config/tuning-section.ts';
import type { DecodeSettings, Target } from '../../targets/target.ts';
import { type Calls, createLedger, type Ledger, NO_CALLS } from '../../trial/ledger.ts';
import { createJudging, createTrial, type JudgeSeat } from '../../trial/trial.ts';
import {
  type AnswerFilter,
  chooseTemplate,
  createRejectionCounts,
  type RejectionCounts,
  type WrittenAnswer,
  writeAnswers,
} from './write-answers.ts';

/** The parts that answers are written with. */
export interface AnswerLogParts {
  /** The target, with this system prompt instead of its own where one is given; closed after use. */
  openTarget(systemPrompt: string | undefined): Promise<Target>;
  readonly decode: DecodeSettings;
  readonly judges: readonly Judge[];
  /** Which answers may be learned. */
  readonly filter: Omit<AnswerFilter, 'judge'>;
  readonly templates: readonly string[];
  readonly benignPrompts: readonly string[];
  readonly seed: number;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal;
  /** File of the answers so far, so that a resumed tuning repeats no call. */
  readonly partialPath?: string;
}

export type AnswerSettings = Pick<TuningConfig, 'refusals' | 'benign'>;

/** Answers so far, in the order of their requests; null where none passed. */
export interface AnswerLog {
  readonly refusals: (WrittenAnswer | null)[];
  readonly benign: (WrittenAnswer | null)[];
  readonly rejected: { readonly refusals: RejectionCounts; readonly benign: RejectionCounts };
  /** Calls that these answers took, over all starts. */
  readonly calls: Calls;
}

/** Requests whose answers are stored together: an interruption costs at most so many. */
const CHUNK = 16;
/** Answers drawn for one benign prompt before giving up on finding a new one. */
const MAX_BENIGN_ROUNDS = 8;

/** A log on its way, and everything that adds to it. */
interface Writing {
  readonly parts: AnswerLogParts;
  readonly settings: AnswerSettings;
  readonly log: Omit<AnswerLog, 'calls'>;
  readonly ledger: Ledger;
  readonly filter: AnswerFilter;
}

async function loadLog(path: string | undefined): Promise<AnswerLog> {
  const rejected = { refusals: createRejectionCounts(), benign: createRejectionCounts() };
  const fresh: AnswerLog = { refusals: [], benign: [], rejected, calls: NO_CALLS };
  if (path === undefined) return fresh;
  try {
    return { ...fresh, ...(JSON.parse(await readFile(path, 'utf8')) as Partial<AnswerLog>) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return fresh;
    throw new FloodgateError('run', `tune: ${path} is damaged`, {
      cause: error,
      hint: `remove ${path} to write the answers again`,
    });
  }
}

async function saveLog({ parts: { partialPath }, log, ledger }: Writing): Promise<void> {
  if (partialPath === undefined) return;
  const text = JSON.stringify({ ...log, calls: ledger.calls });
  await writeFileAtomically(partialPath, (file) => file.writeFile(text));
}

function refuseIfStopped({ signal }: AnswerLogParts): void {
  if (!signal?.aborted) return;
  throw new FloodgateError('interrupted', 'tune: interrupted while answers were written; those so far are stored', {
    hint: 'the same command resumes',
  });
}

/** A way to ask the target for `candidates` answers, counted. */
function askOf(
  { parts, ledger }: Pick<Writing, 'parts' | 'ledger'>,
  target: Target,
  { maxNewTokens, candidates }: { readonly maxNewTokens: number; readonly candidates: number },
) {
  const { decode, signal } = parts;
  const stop = signal === undefined ? {} : { signal };
  // At temperature 0 every candidate would be the same one.
  const responses = decode.temperature === 0 ? 1 : candidates;
  return createTrial({ target, decode: { ...decode, maxNewTokens }, responses, seats: [], ledger, ...stop }).ask;
}

/** Refusals to the next chunk of `attacks`: the target's own, where it is asked, and templates where they may fill. */
async function refuseChunk(writing: Writing, attacks: readonly string[], target: Target | undefined): Promise<void> {
  const { parts, settings, log, filter } = writing;
  const { refusals } = settings;
  const start = log.refusals.length;
  const chunk = attacks.slice(start, start + CHUNK);
  const requests = chunk.map((attack, i) => ({ attack, streamName: ['tuning refusal', start + i] }));
  const rejected = log.rejected.refusals;
  const own =
    target === undefined
      ? []
      : await writeAnswers(requests, { ask: askOf(writing, target, refusals), filter, wanted: 'refusal', rejected });
  const mayFill = target === undefined || refusals.fill;
  for (const [i, attack] of chunk.entries()) {
    const order = randomStream(parts.seed, 'tuning template', start + i).shuffle(parts.templates);
    const filled = own[i] ?? (mayFill ? await chooseTemplate(attack, order, filter) : undefined);
    log.refusals.push(filled ?? null);
  }
}

/** Refusals to the attacks that have none yet. */
async function writeRefusals(writing: Writing, attacks: readonly string[]): Promise<void> {
  const { parts, settings, log } = writing;
  const { source, systemPrompt } = settings.refusals;
  const bar = parts.progress.start('write refusals', attacks.length, 'attacks');
  const target = source === 'target' ? await parts.openTarget(systemPrompt) : undefined;
  try {
    while (log.refusals.length < attacks.length) {
      refuseIfStopped(parts);
      await refuseChunk(writing, attacks, target);
      await saveLog(writing);
      bar.update(log.refusals.length);
    }
  } finally {
    bar.finish();
    await target?.close();
  }
}

/** Answers that passed. */
export function passedOf(answers: readonly (WrittenAnswer | null)[]): number {
  return answers.filter((answer) => answer !== null).length;
}

/** The target's own answers to the next benign prompts, at most `most` of them. */
async function answerChunk(writing: Writing, most: number, target: Target): Promise<void> {
  const { parts, settings, log, filter } = writing;
  const { benignPrompts } = parts;
  const start = log.benign.length;
  const requests = Array.from({ length: Math.min(CHUNK, most) }, (_, i) => ({
    attack: benignPrompts[(start + i) % benignPrompts.length] as string,
    streamName: ['tuning benign', start + i],
  }));
  const ask = askOf(writing, target, { maxNewTokens: settings.benign.maxNewTokens, candidates: 1 });
  const answers = await writeAnswers(requests, { ask, filter, wanted: 'answer', rejected: log.rejected.benign });
  for (const [i, answer] of answers.entries())
    log.benign.push(newAnswer(log.benign, { prompts: benignPrompts.length, index: start + i }, answer));
}

/** Answers of the untuned target to benign prompts, round after round, until `wanted` have passed. */
async function writeBenign(writing: Writing, wanted: number): Promise<void> {
  const { parts, log } = writing;
  const { benignPrompts } = parts;
  if (wanted === 0 || benignPrompts.length === 0) return;
  const most = benignPrompts.length * MAX_BENIGN_ROUNDS;
  const bar = parts.progress.start('write benign answers', wanted, 'answers');
  const target = await parts.openTarget(undefined);
  try {
    while (passedOf(log.benign) < wanted && log.benign.length < most) {
      refuseIfStopped(parts);
      await answerChunk(writing, Math.min(most - log.benign.length, wanted - passedOf(log.benign)), target);
      await saveLog(writing);
      bar.update(passedOf(log.benign));
    }
  } finally {
    bar.finish();
    await target.close();
  }
}

/** The answer, unless the same prompt has drawn the same one in an earlier round. */
function newAnswer(
  written: readonly (WrittenAnswer | null)[],
  { prompts, index }: { readonly prompts: number; readonly index: number },
  answer: WrittenAnswer | undefined,
): WrittenAnswer | null {
  if (answer === undefined) return null;
  for (let earlier = index - prompts; earlier >= 0; earlier -= prompts) {
    if (written[earlier]?.text === answer.text) return null;
  }
  return answer;
}

/**
 * A refusal to each attack, and beside them as many benign answers as `benign.share` asks for. Every answer has passed
 * the judges and the refusal detector. Resumes from `partialPath`.
 * @throws FloodgateError `interrupted` on abort, after the answers so far are stored; `run` when that file is damaged.
 */
export async function writeAnswerLog(
  attacks: readonly string[],
  parts: AnswerLogParts,
  settings: AnswerSettings,
): Promise<AnswerLog> {
  const { calls, ...log } = await loadLog(parts.partialPath);
  const ledger = createLedger(calls);
  const seats = parts.judges.map((judge): JudgeSeat => ({ judge, name: judge.name, masked: false }));
  const judge = createJudging({ seats, ledger, ...(parts.signal === undefined ? {} : { signal: parts.signal }) });
  const writing: Writing = { parts, settings, log, ledger, filter: { ...parts.filter, judge } };
  await writeRefusals(writing, attacks);
  const { share } = settings.benign;
  await writeBenign(writing, Math.round((passedOf(log.refusals) * share) / (1 - share)));
  return { ...log, calls: ledger.calls };
}
