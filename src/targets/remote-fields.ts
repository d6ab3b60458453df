import { readFileSync, statSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { z } from 'zod';
import { line, positive, positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { breakAfter } from '../wire/breaker.ts';
import { type Caller, createCaller, DEFAULT_RETRY, type RetryPolicy } from '../wire/caller.ts';
import { createHttpClient, type HttpClient, proxyHostsOf, type TlsOptions } from '../wire/http-client.ts';
import { AUTO_LIMITS, createAdaptiveLimiter, createLimiter, type Limiter } from '../wire/limiter.ts';
import { createPace } from '../wire/pace.ts';
import { readEnvironmentValue } from '../wire/secrets.ts';
import {
  callSeconds,
  callsAtOnce,
  environmentHeaders,
  environmentName,
  retriesField,
  webAddress,
} from '../wire/wire-fields.ts';
import type { TargetAnswer } from './target.ts';
import { MAX_PROMPT_CHARACTERS } from './target-kind.ts';

/** Config keys of every target that is asked over HTTP. */

export const concurrency = callsAtOnce.describe('calls under way at once; 1 for a command when absent');
export const timeoutSeconds = callSeconds.describe('for one call; a longer one is repeated');

export const promptBefore = z.string().min(1).max(MAX_PROMPT_CHARACTERS).optional().describe('sent before each attack');

/** @param before the part that a filter protects. */
export function statusOfFilter(before: 'server' | 'model') {
  return z
    .array(z.number().int().min(400).max(599))
    .default([])
    .describe(`statuses by which a filter before the ${before} refuses attacks, e.g. [403]: safe, and counted apart`);
}

/** Of a target over HTTP. */
const concurrencyOrAuto = z
  .union([positiveCount.max(1024), z.literal('auto')])
  .default(8)
  .describe('calls under way at once; auto: from 4 up to 64, as many as the server takes without 429 or longer waits');

export const checkAnswers = z
  .boolean()
  .default(true)
  .describe('three harmless prompts before a run: it is refused when all are refused, empty, or echoed');

export const httpFields = {
  checkAnswers,
  headers: environmentHeaders,
  timeoutSeconds,
  concurrency: concurrencyOrAuto,
  requestsPerMinute: positive
    .max(1e6)
    .optional()
    .describe('most requests, repeated ones among them; no limit when absent'),
  tokensPerMinute: positive
    .max(1e9)
    .optional()
    .describe('most tokens, sent and generated: each call counts with decode.maxNewTokens; no limit when absent'),
  retries: retriesField.describe('after a fault that may pass: 408, 409, 425, 429, 5xx'),
  retryAfterSeconds: positive
    .max(3600)
    .default(DEFAULT_RETRY.maxRetryAfterMs / 1000)
    .describe('longest obeyed Retry-After'),
  caFile: line.optional().describe('PEM file of certificates that are trusted beside those of Node'),
  certFile: line.optional().describe('PEM file of the certificate that this client shows'),
  keyFile: line.optional().describe('PEM file of the key of certFile'),
  insecureTls: z
    .boolean()
    .default(false)
    .describe('true: the certificate of the server is not checked; each run warns of it'),
  proxy: line
    .refine(
      (text) => isEnvironmentName(text) || webAddress.safeParse(text).success,
      'must be an address without a password, or the name of an environment variable that holds one',
    )
    .optional()
    .describe('proxy of every call; when absent, HTTPS_PROXY and its like name it'),
};

/** Keys of `httpFields` that hold paths. */
export const HTTP_PATH_KEYS = ['caFile', 'certFile', 'keyFile'] as const;

function isEnvironmentName(text: string): boolean {
  return environmentName.safeParse(text).success;
}

type HttpFields = z.output<z.ZodObject<typeof httpFields>>;

/** The headers of a config with their values. @throws FloodgateError `config` for a variable that is not set. */
export function readHeaders(headers: HttpFields['headers'], key: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, variable]) => [
      name.toLowerCase(),
      readEnvironmentValue(variable, `${key}.${name}`),
    ]),
  );
}

/** @throws FloodgateError `config` for a file that cannot be read. */
function readPem(file: string | undefined, key: string): string | undefined {
  if (file === undefined) return undefined;
  try {
    if (statSync(file).size > MAX_PEM_BYTES) throw new Error(`more than ${MAX_PEM_BYTES} bytes`);
    const text = readFileSync(file, 'utf8');
    if (!text.includes('-----BEGIN ')) throw new Error('it has no line -----BEGIN …');
    return text;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('config', `${key}: cannot read ${file}: ${reason}`, {
      hint: 'expected a file in PEM: text that begins with -----BEGIN …',
      cause,
    });
  }
}

/** Longest certificate file. Stops a wrong path from filling the memory; all of Mozilla's roots have 220 KB. */
const MAX_PEM_BYTES = 2 ** 22;

type TlsFields = Pick<HttpFields, 'caFile' | 'certFile' | 'keyFile' | 'insecureTls'>;

/** @throws FloodgateError `config` for a file that cannot be read, and for a certificate without its key. */
function readTls({ caFile, certFile, keyFile, insecureTls }: TlsFields): TlsOptions {
  if ((certFile === undefined) !== (keyFile === undefined))
    throw new FloodgateError('config', 'target: got one of certFile and keyFile, expected both', {
      hint: 'name the certificate in target.certFile, and its key in target.keyFile',
    });
  const ca = readPem(caFile, 'target.caFile');
  const cert = readPem(certFile, 'target.certFile');
  const key = readPem(keyFile, 'target.keyFile');
  return {
    ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    ...(insecureTls ? { rejectUnauthorized: false } : {}),
  };
}

function readProxy(proxy: string | undefined): string | undefined {
  if (proxy === undefined || !isEnvironmentName(proxy)) return proxy;
  const address = readEnvironmentValue(proxy, 'target.proxy');
  if (URL.canParse(address)) return address;
  throw new FloodgateError('config', `target.proxy: the environment variable ${proxy} holds no address`, {
    hint: 'expected an address such as http://proxy.example:3128',
  });
}

/** The hosts of these addresses, and those of the proxies that the config or else the environment names for them. */
export function contactedHosts(asked: readonly URL[], { proxy }: Pick<HttpFields, 'proxy'>): string[] {
  const own = readProxy(proxy);
  const proxies = own === undefined ? proxyHostsOf(asked) : [new URL(own).host];
  return [...new Set([...asked.map(({ host }) => host), ...proxies])];
}

/** Caveats of how a server is asked. */
export function wireWarnings({ insecureTls }: Pick<HttpFields, 'insecureTls'>): string[] {
  return insecureTls
    ? ['its certificate is not checked (target.insecureTls): whoever is between can read and change each call']
    : [];
}

/** The caveat of a target whose check came without a number of tokens. @param counter who should have counted them. */
export function countWarnings(counter: 'app' | 'provider' | 'server', answer: TargetAnswer | undefined): string[] {
  return answer?.usage.isEstimated === true
    ? [`its ${counter} counts no tokens: they are estimated from the text`]
    : [];
}

export interface Wire {
  readonly client: HttpClient;
  /** For the work itself. */
  readonly caller: Caller;
  /** For the check before it: a server that is not there is reported soon. */
  readonly checker: Caller;
  /** Bounds the calls under way. */
  readonly limiter: Limiter;
}

export function openWire(name: string, config: HttpFields): Wire {
  const client = createHttpClient({
    timeoutMs: config.timeoutSeconds * 1000,
    connections: config.concurrency === 'auto' ? AUTO_LIMITS.most : config.concurrency,
    tls: readTls(config),
    proxy: readProxy(config.proxy),
  });
  const retry: RetryPolicy = {
    ...DEFAULT_RETRY,
    retries: config.retries,
    maxRetryAfterMs: config.retryAfterSeconds * 1000,
  };
  const auto = config.concurrency === 'auto' ? createAdaptiveLimiter() : undefined;
  const limits = { name, client, breakAfter: breakAfter(config.concurrency === 'auto' ? 16 : config.concurrency) };
  const pressure = auto === undefined ? {} : { onPressure: auto.pressed };
  return {
    client,
    limiter: auto ?? createLimiter(config.concurrency as number),
    caller: createCaller({ ...limits, retry, pace: createPace(config), ...pressure }),
    checker: createCaller({ ...limits, retry: { ...retry, retries: Math.min(retry.retries, 1) } }),
  };
}

/** Longest request body. Stops an attack of millions of characters from being sent, and paid for. */
export const MAX_REQUEST_BYTES = 1024 * 1024;

/** Why a body is not sent; undefined for one that is. */
export function tooLong(body: string): string | undefined {
  const bytes = Buffer.byteLength(body);
  return bytes <= MAX_REQUEST_BYTES
    ? undefined
    : `its request has ${bytes} bytes, expected at most ${MAX_REQUEST_BYTES}; an attack is never cut`;
}

/** @throws FloodgateError `interrupted` in place of the signal's own reason. */
export function interruptedUnless(signal: AbortSignal, error: unknown, name: string): unknown {
  return signal.aborted ? new FloodgateError('interrupted', `${name}: interrupted`) : error;
}
