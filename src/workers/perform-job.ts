import { FloodgateError, redactSecrets } from '../base/errors.ts';
import type { Judge, Verdict } from '../judges/judge.ts';
import { responseStream } from '../learning/loops/asked-batches.ts';
import type { Blobs } from '../queue/blobs.ts';
import {
  type AskJob,
  type JudgeJob,
  MAX_PAYLOAD,
  MAX_TEXT,
  type Outcome,
  type PartsJob,
  type SearchedResult,
  type SearchJob,
} from '../queue/protocol.ts';
import type { TargetAnswer } from '../targets/target.ts';
import { requireWeights } from './opened.ts';
import { type OpenedParts, type PartsCache, weightsOfJudge } from './opened-parts.ts';

/** Work that a worker did. */
export interface WorkerCounts {
  jobs: number;
  answers: number;
  verdicts: number;
  /** Attacks that it drew. */
  attacks: number;
  /** Whole runs. */
  runs: number;
  /** Jobs that it gave back unfinished, for another worker. */
  handedBack: number;
  /** Jobs that were none of ours: unsigned, signed with another key, or of another version. */
  refused: number;
}

/** The verdicts of one judge on the answers to an attack; null for an answer that is no text. */
async function verdictsOn(
  judge: Judge,
  attack: string,
  answers: readonly TargetAnswer[],
  signal: AbortSignal,
): Promise<(Verdict | null)[]> {
  const exchanges = answers.flatMap((answer) => (answer.kind === 'text' ? [{ attack, response: answer.text }] : []));
  const verdicts = exchanges.length === 0 ? [] : await judge.score(exchanges, { signal });
  let next = 0;
  return answers.map(({ kind }) => (kind === 'text' ? (verdicts[next++] ?? null) : null));
}

async function openJudgeOf(parts: OpenedParts, place: number, weights: string): Promise<Judge> {
  const judge = await parts.judge(place);
  requireWeights(`judge ${judge.name}`, weightsOfJudge(judge), weights);
  return judge;
}

/** An answer that the queue carries. One that is too long is no answer, as one that its target cannot give. */
function fitting(answer: TargetAnswer): TargetAnswer {
  if (answer.kind !== 'text' || answer.text.length <= MAX_TEXT) return answer;
  const reason = `its answer has ${answer.text.length} characters, expected at most ${MAX_TEXT} for the queue`;
  return { kind: 'failed', reason, usage: answer.usage };
}

async function ask(job: AskJob, parts: OpenedParts, signal: AbortSignal): Promise<Outcome & { kind: 'answers' }> {
  const { open, asks } = await parts.target(job.part);
  requireWeights(`target ${open.target.name}`, open.facts.sha256, job.weights);
  const answers = (await asks.ask(job)).map(fitting);
  const verdicts: (Verdict | null)[][] = [];
  for (const { judge, weights } of job.judges)
    verdicts.push(await verdictsOn(await openJudgeOf(parts, judge, weights), job.attack, answers, signal));
  return { kind: 'answers', answers, verdicts };
}

async function score(job: JudgeJob, parts: OpenedParts, signal: AbortSignal): Promise<Outcome> {
  const judge = await openJudgeOf(parts, job.judge, job.weights);
  return { kind: 'verdicts', verdicts: await judge.score(job.exchanges, { signal }) };
}

/** Draws the attacks, and asks them where the job says so, as jobs of their own would. */
async function search(
  job: SearchJob,
  parts: OpenedParts,
  { blobs, signal }: Pick<PerformOptions, 'blobs' | 'signal'>,
): Promise<SearchedResult> {
  const drawn = await parts.searcher(job).search(job, await blobs(job.run), signal);
  const { asks } = job;
  const asked = async (text: string, row: number): Promise<SearchedResult['attacks'][number]['asked']> => {
    if (asks === null || text.length > MAX_TEXT) return null;
    const { version, run, description } = job;
    const streamName = responseStream(job.plan.update, (job.plan.rows?.from ?? 0) + row);
    const one = { kind: 'ask', version, run, description, ...asks, attack: text, streamName } as const;
    const { answers, verdicts } = await ask(one, parts, signal);
    return { answers, verdicts };
  };
  const answered = await Promise.all(drawn.map(({ text }, row) => asked(text, row)));
  // The learner asks for answers that one result cannot carry.
  const isCarried = JSON.stringify(answered).length <= MAX_PAYLOAD / 2;
  const attacks = drawn.map((attack, i) => ({ ...attack, asked: (isCarried && answered[i]) || null }));
  return { kind: 'searched', attacks };
}

function workOf(job: PartsJob, parts: OpenedParts, options: PerformOptions): Promise<Outcome> {
  const { signal } = options;
  switch (job.kind) {
    case 'open':
      return parts.describe();
    case 'ask':
      return ask(job, parts, signal);
    case 'judge':
      return score(job, parts, signal);
    case 'search':
      return search(job, parts, options);
  }
}

/** An error as the learner may read it: no path of this machine but those that its message names. */
export function errorOutcome(error: unknown): Extract<Outcome, { kind: 'error' }> {
  const message = redactSecrets(error instanceof Error ? error.message : String(error));
  if (!(error instanceof FloodgateError)) return { kind: 'error', code: 'run', message, hint: null };
  return { kind: 'error', code: error.code, message, hint: error.hint ?? null };
}

function countAsked(
  counts: WorkerCounts,
  { answers, verdicts }: Pick<Outcome & { kind: 'answers' }, 'answers' | 'verdicts'>,
) {
  counts.answers += answers.length;
  counts.verdicts += verdicts.flat().filter((verdict) => verdict !== null).length;
}

function countSearch(counts: WorkerCounts, { attacks }: SearchedResult): void {
  counts.attacks += attacks.length;
  for (const { asked } of attacks) if (asked !== null) countAsked(counts, asked);
}

export interface PerformOptions {
  readonly cache: PartsCache;
  readonly counts: WorkerCounts;
  /** Bytes beside the jobs of one run. */
  readonly blobs: (run: string) => Promise<Blobs>;
  readonly signal: AbortSignal;
}

/** The result of a job. An error of its parts is a result too. @throws the signal's reason on abort. */
export async function performJob(job: PartsJob, options: PerformOptions): Promise<Outcome> {
  const { cache, counts, signal } = options;
  try {
    const outcome = await cache.use(job.description, (parts) => workOf(job, parts, options));
    counts.jobs++;
    if (outcome.kind === 'answers') countAsked(counts, outcome);
    if (outcome.kind === 'verdicts') counts.verdicts += outcome.verdicts.length;
    if (outcome.kind === 'searched') countSearch(counts, outcome);
    return outcome;
  } catch (error) {
    signal.throwIfAborted();
    return errorOutcome(error);
  }
}
