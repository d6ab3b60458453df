import { createInterface } from 'node:readline/promises';
import { interruptedError } from '../models/sources/model-source.ts';
import { printableLines } from './command-output.ts';
import { type CliIo, runCli } from './run-cli.ts';
import type { ProgressStream } from './terminal-progress.ts';

/** The part of `process` that interrupts need. */
export interface SignalSource {
  on(signal: StopSignal, listener: () => void): unknown;
  off(signal: StopSignal, listener: () => void): unknown;
  exit(code: number): void;
}

type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Stops listening. */
  dispose(): void;
}

const EXIT_INTERRUPTED = 130;
const EXIT_FAILED = 1;

/**
 * Returns a signal that the first Ctrl-C (or SIGTERM) aborts, for a clean stop after the current unit of work. The
 * second ends the process at once: no data is lost, and the resumed run repeats its last update. A terminal that closes
 * aborts too: SIGHUP, which the shell and the kernel may both send. Node.js undoes `nohup`, so it cannot be told from it.
 *
 * @param resumption the command that continues the work, where one is known.
 */
export function listenForInterrupt(
  source: SignalSource,
  say: (text: string) => void,
  resumption: () => string | undefined = () => undefined,
): Interrupt {
  const controller = new AbortController();
  const onHangUp = (): void => controller.abort();
  const onSignal = (): void => {
    if (controller.signal.aborted) {
      const command = resumption();
      say(`ended at once; what was stored is kept${command === undefined ? '' : `\ncontinue: ${command}`}`);
      source.exit(EXIT_INTERRUPTED);
      return;
    }
    say('stopping after the step in hand; press Ctrl-C again to end now');
    controller.abort();
  };
  source.on('SIGINT', onSignal);
  source.on('SIGTERM', onSignal);
  source.on('SIGHUP', onHangUp);
  return {
    signal: controller.signal,
    dispose: () => {
      source.off('SIGINT', onSignal);
      source.off('SIGTERM', onSignal);
      source.off('SIGHUP', onHangUp);
    },
  };
}

/** Errors of a stream whose reader has gone: a closed pipe, a closed terminal. */
const READER_GONE = ['EPIPE', 'EIO'];

/** An output of the process. Writing to it never throws, and never ends the work that writes. */
interface Output {
  readonly stream: ProgressStream;
  /** The code of the error that ended it; undefined while it is well, or when only its reader went away. */
  lost(): string | undefined;
}

/** Wraps an output of the process so that its first error silences it, and is remembered. */
function createOutput(stream: NodeJS.WriteStream): Output {
  let failure: string | undefined;
  stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    failure ??= code ?? message;
  });
  return {
    stream: {
      write: (text) => failure === undefined && stream.write(text),
      get isTTY() {
        return stream.isTTY;
      },
      get columns() {
        return stream.columns;
      },
    },
    lost: () => (failure === undefined || READER_GONE.includes(failure) ? undefined : failure),
  };
}

/** Asks the person at the terminal, or is undefined where a question would wait for ever. */
function terminalQuestion(signal: AbortSignal): CliIo['ask'] {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  return async (question) => {
    // Not readline's terminal mode: it would take Ctrl-C for itself.
    const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
    try {
      return await lines.question(question, { signal });
    } catch (cause) {
      throw signal.aborted ? interruptedError('ask') : cause;
    } finally {
      lines.close();
    }
  };
}

/**
 * Runs the command line of this process, with its streams and its Ctrl-C, and sets its exit code. A reader that goes
 * away (`floodgate list | head`) changes neither the work nor the exit code. A result that could not be written for
 * another reason, such as a full disk, makes success a failure; a lost log does not.
 *
 * @param create makes the program; Floodgate's own when absent.
 */
export async function runProcess(create?: Parameters<typeof runCli>[2]): Promise<void> {
  const [stdout, stderr] = [createOutput(process.stdout), createOutput(process.stderr)];
  let resumption: string | undefined;
  const say = (text: string): void => void stderr.stream.write(`\n${printableLines(text)}\n`);
  const interrupt = listenForInterrupt(process, say, () => resumption);
  const ask = terminalQuestion(interrupt.signal);
  const streams = { stdout: stdout.stream, stderr: stderr.stream, signal: interrupt.signal };
  const remember = (command: string): void => {
    resumption = command;
  };
  const io = { ...streams, continueWith: remember, ...(ask === undefined ? {} : { ask }) };
  const code = await runCli(process.argv.slice(2), io, create);
  interrupt.dispose();
  process.exitCode = code;
  process.once('beforeExit', () => {
    const reason = stdout.lost(); // known only after the last write
    if (reason === undefined || code !== 0) return;
    stderr.stream.write(`error: the output could not be written (${reason})\n`);
    process.exitCode = EXIT_FAILED;
  });
}
