import { setTimeout as wait } from 'node:timers/promises';
import { createBreaker } from './breaker.ts';
import type { HttpCall, HttpClient, HttpReply } from './http-client.ts';
import { WireFailure } from './wire-failure.ts';

/** How calls are repeated. The only place that retries: clients and kinds do not. */
export interface RetryPolicy {
  /** Attempts after the first. */
  readonly retries: number;
  /** Longest obeyed `Retry-After`. */
  readonly maxRetryAfterMs: number;
  /** Upper end of the first wait; doubles with every retry. */
  readonly baseMs: number;
  /** Upper end of every wait that no server asks for. */
  readonly maxBackoffMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = { retries: 5, maxRetryAfterMs: 60_000, baseMs: 500, maxBackoffMs: 30_000 };

export interface CallerOptions {
  /** For messages. */
  readonly name: string;
  readonly client: HttpClient;
  readonly retry: RetryPolicy;
  /** Calls in a row that may fail for good by faults that pass; the next one stops the work. */
  readonly breakAfter: number;
}

export interface Caller {
  /**
   * Sends until `read` has made something of the reply. `read` throws a `WireFailure` for a reply that is none.
   * @throws WireFailure when the call failed for good; FloodgateError `target` when too many did in a row; the signal's
   * reason on abort.
   */
  call<T>(call: HttpCall, read: (reply: HttpReply) => T, signal: AbortSignal): Promise<T>;
}

/**
 * Milliseconds before retry number `retry`, the first being 0: full jitter, so that callers who failed together do not
 * return together. A wait that the server asks for is obeyed up to its cap, and jittered upwards by at most a second.
 */
export function backoffMs(
  { baseMs, maxBackoffMs, maxRetryAfterMs }: RetryPolicy,
  retry: number,
  retryAfterMs: number | undefined,
  random: number,
): number {
  if (retryAfterMs !== undefined) return Math.min(retryAfterMs, maxRetryAfterMs) + random * Math.min(1000, baseMs);
  return random * Math.min(maxBackoffMs, baseMs * 2 ** retry);
}

export function createCaller(options: CallerOptions): Caller {
  const { client, retry } = options;
  const breaker = createBreaker(options.name, options.breakAfter);
  return {
    async call(call, read, signal) {
      for (let attempt = 0; ; attempt++) {
        try {
          const result = read(await client.send(call, signal));
          breaker.succeeded();
          return result;
        } catch (error) {
          if (!(error instanceof WireFailure)) throw error;
          if (!error.isTransient || attempt >= retry.retries) {
            if (error.isTransient) breaker.failed(error.message, error);
            else breaker.succeeded(); // it answered: only this call is at fault
            throw attempt === 0 ? error : afterRetries(error, attempt);
          }
          const pause = backoffMs(retry, attempt, error.retryAfterMs, Math.random());
          await wait(pause, undefined, { signal }).catch(() => signal.throwIfAborted());
        }
      }
    },
  };
}

function afterRetries(last: WireFailure, retries: number): WireFailure {
  const { fault, message, isTransient, status, body } = last;
  const details = { isTransient, cause: last, ...(status === undefined ? {} : { status }) };
  return new WireFailure(fault, `${message} (after ${retries} retries)`, {
    ...details,
    ...(body === undefined ? {} : { body }),
  });
}
