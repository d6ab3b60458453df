import type { ProgressSink } from '../base/progress.ts';
import type { CampaignIo } from '../stages/stage.ts';
import { parseBudget } from '../trial/budget.ts';

/** Given to every command in place of the process: output, progress, and the signal to stop. */
export interface CliContext {
  /** Terminal bar, plain log lines or silence, chosen once from the flags and the terminal. */
  readonly progress: ProgressSink;
  /** Writes one line to standard error, beside the progress; nothing under `--json`. */
  notify(line: string): void;
  /** The command line as it would be typed again. */
  readonly commandLine: string;
  /** Says in one line what begins, and remembers the command that continues it after an interruption. */
  begin(line: string, command: string): void;
  /** The work is done, and the process ends with this exit code. */
  exitWith(code: number): void;
  /** Another command continues the work from now on. */
  continueWith(command: string): void;
  /** Asks a person a question and returns the line typed. Undefined where nobody can answer. */
  readonly ask?: (question: string) => Promise<string>;
  /** Writes one piece of text to standard output, followed by a newline. */
  out(text: string): void;
  /**
   * Writes a piece of a file to standard output: it may be redirected, so line ends and a byte order mark stay. Any
   * other character that a terminal would obey becomes an escape.
   */
  readonly writeFileText: (text: string) => void;
  /** True under `--json`: the command prints exactly one JSON object through `out` and nothing else. */
  readonly json: boolean;
  /** Aborted by the first Ctrl-C: finish the current unit of work, then stop cleanly. */
  readonly signal: AbortSignal;
  /** Folder of the model cache, when `--cache-dir` names one. */
  readonly cacheDir?: string;
}

/** The part of a context that the library takes. */
export function ioOf({ progress, signal, cacheDir }: CliContext): Pick<CliContext, 'progress' | 'signal' | 'cacheDir'> {
  return { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) };
}

/** The same with the caps of this start, and whether it asks again what the run's log has. */
export function callsIo(
  context: CliContext,
  { budget = [], cache = true }: { readonly budget?: readonly string[]; readonly cache?: boolean },
): CampaignIo {
  return { ...ioOf(context), budget: parseBudget(budget), asksAgain: !cache };
}
