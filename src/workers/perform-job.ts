import { FloodgateError, redactSecrets } from '../base/errors.ts';
import type { Judge, Verdict } from '../judges/judge.ts';
import { type AskJob, type Job, type JudgeJob, MAX_TEXT, type Outcome } from '../queue/protocol.ts';
import type { TargetAnswer } from '../targets/target.ts';
import { type OpenedParts, type PartsCache, requireWeights, weightsOfJudge } from './opened-parts.ts';

/** Work that a worker did. */
export interface WorkerCounts {
  jobs: number;
  answers: number;
  verdicts: number;
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

async function ask(job: AskJob, parts: OpenedParts, signal: AbortSignal): Promise<Outcome> {
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

function workOf(job: Job, parts: OpenedParts, signal: AbortSignal): Promise<Outcome> {
  switch (job.kind) {
    case 'open':
      return parts.describe();
    case 'ask':
      return ask(job, parts, signal);
    case 'judge':
      return score(job, parts, signal);
  }
}

/** An error as the learner may read it: no path of this machine but those that its message names. */
function errorOutcome(error: unknown): Outcome {
  const message = redactSecrets(error instanceof Error ? error.message : String(error));
  if (!(error instanceof FloodgateError)) return { kind: 'error', code: 'run', message, hint: null };
  return { kind: 'error', code: error.code, message, hint: error.hint ?? null };
}

/** The result of a job. An error of its parts is a result too. @throws the signal's reason on abort. */
export async function performJob(
  job: Job,
  cache: PartsCache,
  counts: WorkerCounts,
  signal: AbortSignal,
): Promise<Outcome> {
  try {
    const outcome = await cache.use(job.description, (parts) => workOf(job, parts, signal));
    counts.jobs++;
    if (outcome.kind === 'answers') {
      counts.answers += outcome.answers.length;
      counts.verdicts += outcome.verdicts.flat().filter((verdict) => verdict !== null).length;
    }
    if (outcome.kind === 'verdicts') counts.verdicts += outcome.verdicts.length;
    return outcome;
  } catch (error) {
    signal.throwIfAborted();
    return errorOutcome(error);
  }
}
