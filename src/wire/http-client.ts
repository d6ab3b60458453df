import { setMaxListeners } from 'node:events';
import { isIP } from 'node:net';
import type { Dispatcher, Pool } from 'undici';
import { monotonicMs, nowMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { latePackage } from '../base/late-package.ts';
import { proxyFor } from '../models/sources/proxy.ts';
import { excerpt, WireFailure, type WireFault } from './wire-failure.ts';

const undici = latePackage<typeof import('undici')>('undici');

/** Longest time to reach a server; the rest of the timeout is for its answer. */
const CONNECT_TIMEOUT_MS = 10_000;

/** Longest body that is read. Stops a server from filling the memory; an answer of text has a few kilobytes. */
export const MAX_REPLY_BYTES = 8 * 1024 * 1024;

export interface HttpCall {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** Most tokens that the answer may have, where they are limited by the minute. */
  readonly maxTokens?: number;
}

export interface HttpReply {
  readonly status: number;
  readonly contentType: string;
  /** The body, decoded as UTF-8 once it is whole, without a byte order mark. */
  readonly text: string;
  /** From the call to the end of the body. */
  readonly ms: number;
  /** Each header `Set-Cookie`, as it came. */
  readonly setCookies?: readonly string[];
}

/** How a connection is secured, where it is not as usual. */
export interface TlsOptions {
  /** Certificates of authorities that are trusted, in PEM, in place of those of Node. */
  readonly ca?: readonly string[];
  /** The certificate of this client and its key, in PEM. */
  readonly cert?: string;
  readonly key?: string;
  /** False: the certificate of the server is not checked. */
  readonly rejectUnauthorized?: boolean;
}

export interface HttpClientOptions {
  /** For the whole call: connection, headers and body. */
  readonly timeoutMs: number;
  /** Connections to one host. */
  readonly connections: number;
  /** Default `MAX_REPLY_BYTES`. */
  readonly maxReplyBytes?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly tls?: TlsOptions;
  /** The proxy of every call, those to this machine too; when absent, the environment names it. */
  readonly proxy?: string | undefined;
}

/** Sends one request at a time over kept connections; retries nothing and follows no redirect. */
export interface HttpClient {
  /** A reply of status 200 to 299. @throws WireFailure for anything else; the signal's reason on abort. */
  send(call: HttpCall, signal: AbortSignal): Promise<HttpReply>;
  close(): Promise<void>;
}

/** Whether a server is on this machine: it is asked directly, whatever proxy the environment names. */
export function isLoopback({ hostname }: URL): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** The proxy that the environment names for a URL. */
function environmentProxy(url: URL, env: HttpClientOptions['env'] = process.env): URL | undefined {
  return isLoopback(url) ? undefined : proxyFor(url, env);
}

/** Hosts of the proxies that the environment names for these addresses: calls connect to them alone. */
export function proxyHostsOf(urls: readonly URL[]): string[] {
  return [...new Set(urls.flatMap((url) => environmentProxy(url)?.host ?? []))];
}

/** The proxy ended the connection without an answer. */
class ProxyHangUp extends Error {
  readonly code = 'ECONNRESET';
}

/**
 * Connections to a proxy. undici takes a proxy that hangs up for a connection that is lost between two requests, and
 * connects again without an end or a pause (7.30); an error of another code ends the request.
 */
function connectToProxy(origin: URL, options: object): Pool {
  const pool = new (undici().Pool)(origin, options);
  const connect = pool.connect.bind(pool) as (options: Dispatcher.ConnectOptions) => Promise<Dispatcher.ConnectData>;
  pool.connect = (async (asked: Dispatcher.ConnectOptions) => {
    try {
      return await connect(asked);
    } catch (cause) {
      if (codeOf(cause) !== 'UND_ERR_SOCKET') throw cause;
      throw new ProxyHangUp(`the proxy ${origin.host} closed the connection`, { cause });
    }
  }) as typeof pool.connect;
  return pool;
}

/** One dispatcher for each proxy and one without: each keeps its connections. */
function createDispatchers({ connections, env, tls = {}, proxy: own }: HttpClientOptions) {
  const open = new Map<string, Dispatcher>();
  const common = { connections, headersTimeout: 0, bodyTimeout: 0, pipelining: 1 };
  return {
    for(url: URL): Dispatcher {
      const proxy = own === undefined ? environmentProxy(url, env) : new URL(own);
      const key = proxy?.href ?? '';
      const found = open.get(key);
      if (found !== undefined) return found;
      const connect = { timeout: CONNECT_TIMEOUT_MS, ...tls };
      const made =
        proxy === undefined
          ? new (undici().Agent)({ ...common, connect })
          : new (undici().ProxyAgent)({
              ...common,
              uri: proxy.href,
              requestTls: tls as object,
              clientFactory: connectToProxy,
            });
      open.set(key, made);
      return made;
    },
    async close(): Promise<void> {
      await Promise.all([...open.values()].map((dispatcher) => dispatcher.destroy()));
    },
  };
}

/** The signal of one call: aborted by its caller or by the clock. */
function createDeadline(timeoutMs: number, outer: AbortSignal) {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  let isOver = false;
  const timer = setTimeout(() => {
    isOver = true;
    controller.abort();
  }, timeoutMs);
  const stop = (): void => controller.abort();
  outer.addEventListener('abort', stop, { once: true });
  if (outer.aborted) stop();
  return {
    signal: controller.signal,
    get isOver() {
      return isOver;
    },
    clear(): void {
      clearTimeout(timer);
      outer.removeEventListener('abort', stop);
    },
  };
}

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { timeoutMs, maxReplyBytes = MAX_REPLY_BYTES } = options;
  const dispatchers = createDispatchers(options);
  const send = async (call: HttpCall, outer: AbortSignal): Promise<HttpReply> => {
    const deadline = createDeadline(timeoutMs, outer);
    const began = monotonicMs();
    try {
      const { method, url, headers, body } = call;
      const response = await undici().request(url, {
        method: method as Dispatcher.HttpMethod,
        headers: { 'accept-encoding': 'identity', 'user-agent': 'floodgate', ...headers },
        body: body ?? null,
        signal: deadline.signal,
        dispatcher: dispatchers.for(url),
      });
      const text = await readBody(response, maxReplyBytes, url);
      const contentType = headerOf(response.headers, 'content-type');
      const setCookies = [response.headers['set-cookie'] ?? []].flat();
      const reply = { status: response.statusCode, contentType, text, ms: monotonicMs() - began, setCookies };
      if (reply.status >= 200 && reply.status < 300) return reply;
      throw statusFailure(reply, response.headers, url);
    } catch (error) {
      if (outer.aborted) throw outer.reason;
      if (error instanceof WireFailure || error instanceof FloodgateError) throw error;
      if (deadline.isOver)
        throw new WireFailure('timeout', `${call.url.host}: no answer within ${timeoutMs / 1000} s`, {
          isTransient: true,
        });
      throw connectionFailure(error, call.url);
    } finally {
      deadline.clear();
    }
  };
  return { send, close: () => dispatchers.close() };
}

type ReplyHeaders = Readonly<Record<string, string | string[] | undefined>>;

function headerOf(headers: ReplyHeaders, name: string): string {
  const value = headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? '';
}

/** The whole body as text. @throws WireFailure for one that is too long, or packed although that was refused. */
async function readBody(
  { body, headers }: Pick<Dispatcher.ResponseData, 'body' | 'headers'>,
  maxBytes: number,
  { host }: URL,
): Promise<string> {
  const encoding = headerOf(headers, 'content-encoding');
  const refuse = (fault: WireFault, message: string): WireFailure => {
    body.on('error', () => undefined);
    body.destroy();
    return new WireFailure(fault, `${host}: ${message}`, { isTransient: false });
  };
  if (encoding !== '' && encoding !== 'identity')
    throw refuse('protocol', `the answer is packed with ${encoding}, expected it as it is`);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += (chunk as Buffer).length;
    if (bytes > maxBytes) throw refuse('too-large', `the answer has more than ${maxBytes} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/^\ufeff/, '');
}

const TRANSIENT_STATUS = new Set([408, 409, 425, 429]);

function statusFailure({ status, text }: HttpReply, headers: ReplyHeaders, { host }: URL): WireFailure {
  const location = headerOf(headers, 'location');
  const isRedirect = status >= 300 && status < 400;
  const what = isRedirect ? `redirects to ${location.slice(0, 200)}` : excerpt(text);
  return new WireFailure('status', `${host} answered ${status}: ${what}`, {
    isTransient: TRANSIENT_STATUS.has(status) || status >= 500,
    status,
    body: text,
    retryAfterMs: parseRetryAfter(headerOf(headers, 'retry-after'), nowMs()),
  });
}

/** `Retry-After` in milliseconds, from seconds or a date; undefined when absent or malformed. */
export function parseRetryAfter(value: string, now: number): number | undefined {
  const text = value.trim();
  if (/^\d{1,9}(\.\d{1,9})?$/.test(text)) return Number(text) * 1000;
  if (!/^[A-Za-z]/.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

const CERTIFICATE_FAULT = /CERT|SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)|ERR_TLS|ERR_SSL|WRONG_VERSION|EPROTO/;

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** The failure of a connection that was refused, cut, or never made. */
function connectionFailure(error: unknown, url: URL): WireFailure {
  const code = codeOf(error) || codeOf(error instanceof Error ? error.cause : undefined);
  const message = error instanceof Error ? error.message || code || error.name : String(error);
  if (CERTIFICATE_FAULT.test(code))
    return new WireFailure('certificate', `${url.host}: no secure connection: ${message}`, {
      isTransient: false,
      cause: error,
    });
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return new WireFailure('dns', `${url.hostname}: the name has no address (${code})`, {
      isTransient: true,
      cause: error,
    });
  return new WireFailure('connection', `${url.host}: ${message}`, { isTransient: true, cause: error });
}
