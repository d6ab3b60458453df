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

/** The computation as one step, for work that is short or cannot pause. */
export function* oneStep<T>(compute: () => T): Steps<T> {
  yield;
  return compute();
}

/** Rows, texts or attacks between two places where a computation may pause. */
const STEP_ITEMS = 256;

/** `list.map(to)`, which may pause. */
export function* mapInSteps<In, Out>(list: readonly In[], to: (item: In, index: number) => Out): Steps<Out[]> {
  const results: Out[] = [];
  for (const [i, item] of list.entries()) {
    if (i % STEP_ITEMS === 0) yield;
    results.push(to(item, i));
  }
  return results;
}

/** Work between two pauses, ms: short enough that Ctrl-C is heard at once. */
const PAUSE_EVERY_MS = 100;

/**
 * Runs a computation and lets the event loop turn every 0.1 s, so that signals are heard.
 * @param what names the work. @param hint how to continue after an interruption.
 * @throws FloodgateError `interrupted` at a pause, when `signal` was aborted.
 */
export async function finishPausing<T>(
  steps: Steps<T>,
  signal: AbortSignal,
  what: string,
  hint = 'floodgate resume measures again',
): Promise<T> {
  let paused = monotonicMs();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (monotonicMs() - paused < PAUSE_EVERY_MS) continue;
    await new Promise((resolve) => setImmediate(resolve));
    if (signal.aborted) {
      throw new FloodgateError('interrupted', `${what}: interrupted, every attack is kept`, { hint });
    }
    paused = monotonicMs();
  }
}
