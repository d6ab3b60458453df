import { setTimeout as wait } from 'node:timers/promises';
import { createBreaker } from './breaker.ts';
import type { HttpCall, HttpClient, HttpReply } from './http-client.ts';
import type { Pace } from './pace.ts';
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
  /** Spreads every attempt over time. */
  readonly pace?: Pace | undefined;
  /** Told each time when the server has too much to do, and how long it asks to wait, up to the cap. */
  readonly onPressure?: (waitMs: number) => void;
}

export interface Caller {
  /** Attempts that were answered with status 429; absent where nobody counts them. */
  readonly rateLimited?: number;
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
  const { pace, onPressure } = options;
  const breaker = createBreaker(options.name, options.breakAfter);
  let rateLimited = 0;
  const note = ({ status, retryAfterMs = 0 }: WireFailure): void => {
    if (status === 429) rateLimited++;
    if (status === 429 || status === 503) onPressure?.(Math.min(retryAfterMs, retry.maxRetryAfterMs));
  };
  return {
    get rateLimited() {
      return rateLimited;
    },
    async call(call, read, signal) {
      for (let attempt = 0; ; attempt++) {
        try {
          await pace?.take(tokensOf(call), signal);
          const result = read(await client.send(call, signal));
          breaker.succeeded();
          return result;
        } catch (error) {
          if (!(error instanceof WireFailure)) throw error;
          note(error);
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

/** A caller that remembers how long the last reply took. */
export function createTimedCaller(caller: Caller): Caller & { readonly ms: number } {
  let ms = 0;
  return {
    get ms() {
      return ms;
    },
    call: (sent, read, signal) =>
      caller.call(
        sent,
        (reply) => {
          ms = reply.ms;
          return read(reply);
        },
        signal,
      ),
  };
}

/** Characters of English in a token, on average. */
const CHARACTERS_PER_TOKEN = 4;

/** The most tokens that a call takes: sent and generated. */
function tokensOf({ body = '', maxTokens = 0 }: HttpCall): number {
  return Math.ceil(body.length / CHARACTERS_PER_TOKEN) + maxTokens;
}

function afterRetries(last: WireFailure, retries: number): WireFailure {
  const { fault, message, isTransient, status, body } = last;
  const details = { isTransient, cause: last, ...(status === undefined ? {} : { status }) };
  return new WireFailure(fault, `${message} (after ${retries} retries)`, {
    ...details,
    ...(body === undefined ? {} : { body }),
  });
}
