import { PassThrough, type Readable } from 'node:stream';
import { nowMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { httpGet, type Route, type TransportResponse } from './http-transport.ts';
import { interruptedError, throwIfInterrupted, waitUnlessInterrupted } from './model-source.ts';
import type { HttpTiming } from './source-environment.ts';

/** Most redirects for one request; stops a redirect loop. */
const MAX_REDIRECTS = 10;
/** Attempts in a row that bring no bytes before a pull gives up. */
const MAX_IDLE_ATTEMPTS = 5;
/** Attempts at one operation in total, even when each brings a few bytes. */
const MAX_ATTEMPTS = 50;

/** A server to ask, what to tell it about ourselves, and how long to wait. */
export interface HttpSession {
  /** Where relative requests go, and whose own headers are the first ones. */
  readonly endpoint: URL;
  readonly timing: HttpTiming;
  readonly signal: AbortSignal | undefined;
  /** The advice of the error when the server does not answer. */
  readonly hint: string;
  /** Headers that let us in at this address, or none. Asked again for each redirect. */
  authorization(url: URL): Readonly<Record<string, string>>;
  route(url: URL): Route;
  /** @throws FloodgateError for an address that must not be asked, such as plain http. */
  ensureAllowed?(url: URL): void;
  /** The error of a status that no retry fixes. `got` says the operation and the status. */
  refusal(got: string, status: number, url: URL): FloodgateError;
}

/** Response to one request. `firstHeaders` are the endpoint's own, before any redirect to its storage. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly firstHeaders: Headers;
  /** Address that answered, after redirects. */
  readonly url: URL;
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
  session: HttpSession,
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

function givingUp(session: HttpSession, operation: string, attempts: number, last: TransientFailure): FloodgateError {
  return new FloodgateError(
    'source',
    `${operation}: gave up after ${attempts} attempts at ${session.endpoint.host}: ${last.message}`,
    { cause: last, hint: session.hint },
  );
}

/**
 * One GET request that follows redirects. Each address gets only the headers that `session.authorization` has for it.
 * Returns status 200, 206 or 416. Throws for every other status; `withRetries` retries the transient ones.
 */
export async function requestUrl(
  session: HttpSession,
  start: URL,
  operation: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<HttpResponse> {
  const watchdog = createWatchdog(session);
  let url = start;
  let firstHeaders: Headers | undefined;
  try {
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      session.ensureAllowed?.(url);
      const { authorization, signal } = { authorization: session.authorization(url), signal: watchdog.signal };
      const sent = { 'accept-encoding': 'identity', 'user-agent': 'floodgate', ...headers, ...authorization };
      const response = await httpGet(url, { headers: sent, signal }, session.route(url));
      watchdog.feed();
      firstHeaders ??= response.headers;
      const next = redirectTarget(response, url, operation);
      if (next === undefined) {
        ensureAcceptable(session, response, url, operation);
        return toHttpResponse({ ...response, url, firstHeaders }, watchdog);
      }
      discardBody(response.body);
      // A renamed repository redirects within the hub: keep the headers of its present address.
      if (next.origin === session.endpoint.origin) firstHeaders = undefined;
      url = next;
    }
    throw new FloodgateError('source', `${operation}: more than ${MAX_REDIRECTS} redirects, last to ${url.host}`);
  } catch (error) {
    watchdog.stop();
    if (error instanceof FloodgateError || error instanceof TransientFailure) throw error;
    throw certificateError(error, url, operation) ?? toTransient(error, watchdog);
  }
}

/** Reads a whole page as UTF-8 text. @throws FloodgateError `source` when it is longer than `maxBytes`. */
export async function readText(response: HttpResponse, maxBytes: number, operation: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      await response.discard();
      throw new FloodgateError('source', `${operation}: the listing is too long, expected at most ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Closes a connection whose answer nobody reads. */
function discardBody(body: Readable): void {
  body.on('error', () => undefined);
  body.destroy();
}

function redirectTarget(response: TransportResponse, from: URL, operation: string): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(response.status)) return undefined;
  const location = response.headers.get('location') ?? '';
  const target = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  const isDowngrade = from.protocol === 'https:' && target?.protocol !== 'https:';
  if (target === undefined || !/^https?:$/.test(target.protocol) || isDowngrade) {
    discardBody(response.body);
    throw new FloodgateError(
      'source',
      `${operation}: refused a redirect, got ${location.slice(0, 200)}, expected an https address`,
    );
  }
  // Whoever redirects may not choose what we say who we are.
  target.username = '';
  target.password = '';
  return target;
}

interface Watchdog {
  readonly signal: AbortSignal;
  readonly hasBitten: boolean;
  feed(): void;
  stop(): void;
}

/** Aborts a request that brings no bytes for `stallTimeoutMs`, or when the session is stopped. */
function createWatchdog(session: HttpSession): Watchdog {
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
  return new TransientFailure(error instanceof Error ? error.message || error.name : String(error));
}

const CERTIFICATE_FAULT = /CERT|SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)|ERR_TLS|ERR_SSL|WRONG_VERSION/;

/** The error of a certificate that no retry makes valid, or undefined for another error. */
function certificateError(error: unknown, url: URL, operation: string): FloodgateError | undefined {
  if (!(error instanceof Error) || !('code' in error) || !CERTIFICATE_FAULT.test(String(error.code))) return undefined;
  return new FloodgateError('source', `${operation}: no secure connection to ${url.host}: ${error.message}`, {
    cause: error,
    hint: 'for a certificate authority of your own: NODE_EXTRA_CA_CERTS, or PIP_CERT for a package index, names its PEM file',
  });
}

/** @throws the error of any status but 200, 206 and 416. */
function ensureAcceptable(session: HttpSession, response: TransportResponse, url: URL, operation: string): void {
  if ([200, 206, 416].includes(response.status)) return;
  discardBody(response.body);
  throw statusError(session, response, url, operation);
}

function toHttpResponse(
  { status, headers, firstHeaders, url, body }: TransportResponse & { url: URL; firstHeaders: Headers },
  watchdog: Watchdog,
): HttpResponse {
  return {
    status,
    headers,
    firstHeaders,
    url,
    body: watchedBody(body, watchdog),
    discard: async () => {
      watchdog.stop();
      discardBody(body);
    },
  };
}

/**
 * Bytes that wait for the disk. Node drops bytes not given out when a connection breaks; these are kept, so that a
 * server that cuts every connection still advances the download.
 */
const WAITING_BYTES = 1 << 20;

/** Listens at once: a body that breaks before it is read must fail, not wait for ever. */
function watchedBody(body: Readable, watchdog: Watchdog): AsyncIterable<Uint8Array> {
  const waiting = new PassThrough({ highWaterMark: WAITING_BYTES });
  let failure: unknown;
  const end = (error?: unknown): void => {
    if (!body.readableEnded) failure ??= error ?? new Error('the connection was cut');
    waiting.end();
  };
  body.once('error', end);
  body.once('close', () => end());
  if (body.destroyed) end();
  body.pipe(waiting);
  return (async function* () {
    try {
      for await (const chunk of waiting) {
        watchdog.feed();
        yield chunk as Buffer;
      }
      if (failure !== undefined) throw toTransient(failure, watchdog);
    } finally {
      watchdog.stop();
    }
  })();
}

function statusError(session: HttpSession, { status, headers }: TransportResponse, url: URL, operation: string): Error {
  const reason = (headers.get('x-error-code') ?? headers.get('x-error-message') ?? '').slice(0, 200);
  const got = `${operation}: ${url.host} answered ${status}${reason === '' ? '' : ` (${reason})`}`;
  const isTransient = status === 408 || status === 425 || status === 429 || status >= 500;
  return isTransient ? transientStatus(session, got, status, headers) : session.refusal(got, status, url);
}

function transientStatus(session: HttpSession, got: string, status: number, headers: Headers): Error {
  const waitMs = retryAfterMs(headers.get('retry-after'));
  if (waitMs !== undefined && waitMs > session.timing.maxRetryAfterMs) {
    return new FloodgateError(
      'source',
      `${got} and asks to wait ${Math.ceil(waitMs / 1000)} s, longer than is waited for`,
      { hint: 'run the same command later: it resumes where it stopped' },
    );
  }
  return new TransientFailure(`status ${status}`, waitMs);
}

/** `Retry-After` in milliseconds, from a number of seconds or a date; undefined when absent or malformed. */
function retryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs());
}
