import { runCli } from './run-cli.ts';

/** The part of `process` that interrupts need. */
export interface SignalSource {
  on(signal: 'SIGINT' | 'SIGTERM', listener: () => void): unknown;
  off(signal: 'SIGINT' | 'SIGTERM', listener: () => void): unknown;
  exit(code: number): void;
}

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Stops listening. */
  dispose(): void;
}

const EXIT_INTERRUPTED = 130;

/**
 * Returns a signal that the first Ctrl-C (or SIGTERM) aborts, for a clean stop after the current unit of work. The
 * second ends the process at once: no data is lost, and the resumed run repeats its last update.
 */
export function listenForInterrupt(source: SignalSource, say: (text: string) => void): Interrupt {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) {
      source.exit(EXIT_INTERRUPTED);
      return;
    }
    say('stopping after the current update; Ctrl-C again stops at once');
    controller.abort();
  };
  source.on('SIGINT', onSignal);
  source.on('SIGTERM', onSignal);
  return {
    signal: controller.signal,
    dispose: () => {
      source.off('SIGINT', onSignal);
      source.off('SIGTERM', onSignal);
    },
  };
}

/**
 * Runs the command line of this process, with its streams and its Ctrl-C, and sets its exit code.
 *
 * @param create makes the program; Floodgate's own when absent.
 */
export async function runProcess(create?: Parameters<typeof runCli>[2]): Promise<void> {
  // A reader that goes away (`floodgate list | head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  const interrupt = listenForInterrupt(process, (text) => void process.stderr.write(`\n${text}\n`));
  const io = { stdout: process.stdout, stderr: process.stderr, signal: interrupt.signal };
  process.exitCode = await runCli(process.argv.slice(2), io, create);
  interrupt.dispose();
}
