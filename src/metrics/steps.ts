import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';

/** A long computation that yields wherever it may pause. Its result does not depend on the pauses. */
export type Steps<T> = Generator<undefined, T, undefined>;

/** Runs a computation without a pause. */
export function finishSteps<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** Work between two pauses, ms: short enough that Ctrl-C is heard at once. */
const PAUSE_EVERY_MS = 100;

/**
 * Runs a computation and lets the event loop turn every 0.1 s, so that signals are heard.
 * @throws FloodgateError `interrupted` at a pause, when `signal` was aborted. `what` names the work.
 */
export async function finishPausing<T>(steps: Steps<T>, signal: AbortSignal, what: string): Promise<T> {
  let paused = monotonicMs();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (monotonicMs() - paused < PAUSE_EVERY_MS) continue;
    await new Promise((resolve) => setImmediate(resolve));
    if (signal.aborted) {
      throw new FloodgateError('interrupted', `${what}: interrupted, every attack is kept`, {
        hint: 'floodgate resume measures again',
      });
    }
    paused = monotonicMs();
  }
}
