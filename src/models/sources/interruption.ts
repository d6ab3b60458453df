import { setTimeout as delay } from 'node:timers/promises';
import { FloodgateError } from '../../base/errors.ts';

/** The error of a pull that was stopped; `hint` says how to go on. */
export function interruptedError(operation: string, hint = 'run the same command again to go on'): FloodgateError {
  return new FloodgateError('interrupted', `${operation}: stopped`, { hint });
}

/** @throws FloodgateError `interrupted` when the signal is raised. */
export function throwIfInterrupted(signal: AbortSignal | undefined, operation: string): void {
  if (signal?.aborted) throw interruptedError(operation);
}

/** Waits `ms`, or throws FloodgateError `interrupted` as soon as the signal is raised. */
export async function waitUnlessInterrupted(
  ms: number,
  signal: AbortSignal | undefined,
  operation: string,
): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (cause) {
    throwIfInterrupted(signal, operation);
    throw cause;
  }
}
