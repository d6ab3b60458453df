import { z } from 'zod';
import { count, line, positive, positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { breakAfter } from '../wire/breaker.ts';
import { type Caller, createCaller, DEFAULT_RETRY, type RetryPolicy } from '../wire/caller.ts';
import { createHttpClient, type HttpClient } from '../wire/http-client.ts';
import { readEnvironmentValue } from '../wire/secrets.ts';

/** Config keys of every target that is asked over HTTP. */

/** The name of an environment variable. A value in its place would be stored with the run. */
export const environmentName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be the name of an environment variable, not a value');

const headerName = z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'must be the name of a header');

export const concurrency = positiveCount
  .max(1024)
  .default(8)
  .describe('calls under way at once; 1 for a command when absent');
export const timeoutSeconds = positive.max(3600).default(120).describe('for one call; a longer one is repeated');

export const httpFields = {
  headers: z
    .record(headerName, environmentName)
    .default({})
    .describe('further headers: the value of each is the name of an environment variable that holds it'),
  timeoutSeconds,
  concurrency,
  retries: count
    .max(20)
    .default(DEFAULT_RETRY.retries)
    .describe('after a fault that may pass: 408, 409, 425, 429, 5xx'),
  retryAfterSeconds: positive
    .max(3600)
    .default(DEFAULT_RETRY.maxRetryAfterMs / 1000)
    .describe('longest obeyed Retry-After'),
};

type HttpFields = z.output<z.ZodObject<typeof httpFields>>;

/** An address to ask. Keys belong in the environment, so an address that holds one is refused. */
export const webAddress = line.refine((text) => addressProblem(text) === undefined, {
  error: ({ input }) => addressProblem(String(input)) ?? 'must be an address',
});

/** A placeholder in the host would let an attack choose where it is sent, with the headers of the config. */
const PLACEHOLDER_IN_HOST = /^[^/]*\/\/[^/?#]*\{\{/;

function addressProblem(text: string): string | undefined {
  if (PLACEHOLDER_IN_HOST.test(text)) return 'must hold no placeholder in its host';
  if (!URL.canParse(text)) return 'must be an http or https address';
  const { protocol, username, password, searchParams } = new URL(text);
  if (!/^https?:$/.test(protocol)) return 'must be an http or https address';
  if (username !== '' || password !== '') return 'must hold no user or password: name a variable in headers';
  const isOpen = ([name, value]: [string, string]) => SECRET_NAME.test(name) && !value.startsWith('{{env.');
  const secret = [...searchParams].find(isOpen)?.[0];
  return secret === undefined ? undefined : `must hold no secret, got a value of ${secret}: name a variable in headers`;
}

/** Names of query parameters that hold secrets. */
const SECRET_NAME = /key|token|secret|password|signature|^sig$/i;

/** The headers of a config with their values. @throws FloodgateError `config` for a variable that is not set. */
export function readHeaders(headers: HttpFields['headers'], key: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, variable]) => [
      name.toLowerCase(),
      readEnvironmentValue(variable, `${key}.${name}`),
    ]),
  );
}

export interface Wire {
  readonly client: HttpClient;
  /** For the work itself. */
  readonly caller: Caller;
  /** For the check before it: a server that is not there is reported soon. */
  readonly checker: Caller;
}

export function openWire(name: string, config: HttpFields): Wire {
  const client = createHttpClient({ timeoutMs: config.timeoutSeconds * 1000, connections: config.concurrency });
  const retry: RetryPolicy = {
    ...DEFAULT_RETRY,
    retries: config.retries,
    maxRetryAfterMs: config.retryAfterSeconds * 1000,
  };
  const limits = { name, client, breakAfter: breakAfter(config.concurrency) };
  return {
    client,
    caller: createCaller({ ...limits, retry }),
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
