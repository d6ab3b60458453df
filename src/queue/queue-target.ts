import { FloodgateError } from '../base/errors.ts';
import { createRemoteTarget } from '../targets/remote-target.ts';
import type { Target, TargetAnswer } from '../targets/target.ts';
import type { JobQueue } from './job-queue.ts';
import {
  type AskedDescription,
  type AskJob,
  MAX_TEXT,
  type OpenedTarget,
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
  /** Most jobs under way. */
  readonly jobsAtOnce: number;
}

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
  return createRemoteTarget({
    name,
    concurrency: parts.jobsAtOnce,
    answer: async ({ attack, streamName }, { samples, decode, signal, limiter, arrived }) => {
      if (attack.length > MAX_TEXT) return samples.map(() => tooLong(attack));
      return limiter.run(
        async () => {
          const asked = { attack, streamName: [...streamName], samples: [...samples], decode };
          const { outcome, worker, release } = await jobs.submit(jobOf(asked), signal);
          if (outcome.kind !== 'answers' || outcome.answers.length !== samples.length)
            throw new FloodgateError('run', `${name}: worker ${worker} answered another job than this one`);
          for (const [i, { judge }] of judges.entries())
            verdicts.come(judge, attack, outcome.answers, outcome.verdicts[i] ?? []);
          const stored = outcome.answers.map((answer): TargetAnswer => answer).map(arrived);
          release();
          return stored;
        },
        signal,
        samples.length,
      );
    },
    release: async () => undefined,
  });
}
