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
 * Returns a signal that the first Ctrl-C (or SIGTERM) aborts, for a clean stop after the current unit of work; the
 * second ends the process at once. Nothing is lost then either, the run only makes its last update again.
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
