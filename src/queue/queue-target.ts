import { FloodgateError } from '../base/errors.ts';
import { createRemoteTarget } from '../targets/remote-target.ts';
import type { Target, TargetAnswer } from '../targets/target.ts';
import type { ComeAnswers } from './come-answers.ts';
import type { JobQueue } from './pending-job.ts';
import {
  type AskedDescription,
  type AskJob,
  MAX_TEXT,
  type OpenedTarget,
  type Outcome,
  PROTOCOL,
  type TargetPart,
} from './protocol.ts';
import type { ComeVerdicts } from './queue-judge.ts';

export interface QueueTargetParts {
  readonly jobs: JobQueue;
  /** Name of the run: jobs of two runs are never one. */
  readonly run: string;
  readonly description: AskedDescription;
  readonly part: TargetPart;
  readonly opened: OpenedTarget;
  /** Judges whose verdicts come with the answers. */
  readonly judges: AskJob['judges'];
  readonly verdicts: ComeVerdicts;
  /** Answers that came with the attacks of searches. */
  readonly answers: ComeAnswers;
  /** Most jobs under way. */
  readonly jobsAtOnce: number;
}

/** Answers and verdicts of workers; Redis may forget those of a job that is released. */
type Found = Pick<Outcome & { kind: 'answers' }, 'answers' | 'verdicts'> & { release?(): void };

/** No call is made: an attack is never cut. */
function tooLong({ length }: string): TargetAnswer {
  const reason = `it has ${length} characters, expected at most ${MAX_TEXT} for the queue`;
  return { kind: 'failed', reason, usage: { calls: 0, tokens: 0 } };
}

/**
 * The target of a run whose workers ask it: one job an attack. Each answer is handed over before Redis may forget it.
 */
export function createQueueTarget(parts: QueueTargetParts): Target {
  const { jobs, run, description, part, opened, judges, verdicts } = parts;
  const { name, facts } = opened;
  const jobOf = (asked: Pick<AskJob, 'attack' | 'streamName' | 'samples' | 'decode'>): AskJob => ({
    kind: 'ask',
    version: PROTOCOL,
    run,
    description,
    part,
    weights: facts.sha256,
    judges,
    ...asked,
  });
  const askWorker = async (asked: Parameters<typeof jobOf>[0], signal: AbortSignal): Promise<Found> => {
    const { outcome, worker, release } = await jobs.submit(jobOf(asked), signal);
    if (outcome.kind !== 'answers' || outcome.answers.length !== asked.samples.length)
      throw new FloodgateError('run', `${name}: worker ${worker} answered another job than this one`);
    return { ...outcome, release };
  };
  return createRemoteTarget({
    name,
    concurrency: parts.jobsAtOnce,
    answer: async ({ attack, streamName }, { samples, decode, signal, limiter, arrivedTogether }) => {
      if (attack.length > MAX_TEXT) return samples.map(() => tooLong(attack));
      return limiter.run(
        async () => {
          const asked = { attack, streamName: [...streamName], samples: [...samples], decode };
          const come = parts.answers.take({ part, ...asked });
          const found: Found = come ?? (await askWorker(asked, signal));
          for (const [i, { judge }] of judges.entries())
            verdicts.come(judge, attack, found.answers, found.verdicts[i] ?? []);
          const stored = arrivedTogether(found.answers);
          found.release?.();
          return stored;
        },
        signal,
        samples.length,
      );
    },
    release: async () => undefined,
  });
}
