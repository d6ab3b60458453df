import { FloodgateError } from '../base/errors.ts';
import type { ProgressSink } from '../base/progress.ts';
import type { Outcome } from '../queue/protocol.ts';
import { loadConfig } from '../stages/campaign/config-load.ts';
import { finishRun } from '../stages/campaign/run-campaign.ts';
import { readOnlyVariables } from '../wire/secrets.ts';
import { errorOutcome } from './perform-job.ts';

/** A whole run, as its process is told it. */
export interface RunTask {
  readonly configPath: string;
  readonly runsFolder: string;
  readonly name: string;
  /** Environment variables that the config may name. */
  readonly variables: readonly string[];
  readonly cacheDir?: string;
}

/** How a run ended. */
export type RunEnd = { readonly kind: 'done' } | Extract<Outcome, { kind: 'error' }>;

/** Messages of the process: any number of lines, then the end. A line of the log stays; one of progress is shown. */
export type RunMessage = RunLine | RunEnd;

export interface RunLine {
  readonly kind: 'line' | 'log';
  readonly line: string;
}

/** One line of text for each step. */
function lineByLine(tell: (line: RunLine) => void): ProgressSink {
  const say = (line: string): void => tell({ kind: 'line', line });
  return {
    start(label, total, unit) {
      const line = (done: number): string => `${label} ${done}${total === undefined ? '' : `/${total}`} ${unit}`;
      say(line(0));
      return { update: (done) => say(line(done)), finish: () => undefined };
    },
    say: (line) => tell({ kind: 'log', line }),
  };
}

/** Does or resumes a run. An error is a result too. @param tell told how far it is, and what belongs into its log. */
export async function doRun(task: RunTask, signal: AbortSignal, tell: (line: RunLine) => void): Promise<RunEnd> {
  const { configPath, runsFolder, name, variables, cacheDir } = task;
  const restore = readOnlyVariables(variables);
  try {
    const io = { progress: lineByLine(tell), signal, ...(cacheDir === undefined ? {} : { cacheDir }) };
    await finishRun(await loadConfig(configPath), runsFolder, name, io);
    return { kind: 'done' };
  } catch (error) {
    if (!(error instanceof FloodgateError)) tell({ kind: 'log', line: String((error as Error)?.stack ?? error) });
    return errorOutcome(error);
  } finally {
    restore();
  }
}
