import { FloodgateError } from '../base/errors.ts';

/** Stops the work when calls fail one after the other: what answers them seems to be gone. */
export interface Breaker {
  /** A call was answered, by a refusal too. */
  succeeded(): void;
  /** A call failed for good by a fault that may pass. @throws FloodgateError `target` when too many did in a row. */
  failed(reason: string, cause?: unknown): void;
}

/** @param breakAfter failures in a row that stop the work. */
export function createBreaker(name: string, breakAfter: number): Breaker {
  let failures = 0;
  return {
    succeeded: () => {
      failures = 0;
    },
    failed: (reason, cause) => {
      failures++;
      if (failures < breakAfter) return;
      throw new FloodgateError('target', `${name}: ${failures} calls in a row failed, the last: ${reason}`, {
        hint: 'what is stored is kept: floodgate resume continues once calls are answered again',
        cause,
      });
    },
  };
}

/** Failures in a row that stop the work: more than one round of the calls under way. */
export function breakAfter(concurrency: number): number {
  return concurrency + 4;
}
