import { z } from 'zod';
import { count, positive, positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { breakAfter } from '../wire/breaker.ts';
import { type Caller, createCaller, DEFAULT_RETRY, type RetryPolicy } from '../wire/caller.ts';
import { createHttpClient, type HttpClient } from '../wire/http-client.ts';
import { readEnvironmentValue } from '../wire/secrets.ts';
import { environmentName } from '../wire/wire-fields.ts';

/** Config keys of every target that is asked over HTTP. */

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
