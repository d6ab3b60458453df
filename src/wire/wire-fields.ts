import { z } from 'zod';
import { count, line, positive, positiveCount } from '../base/config-fields.ts';
import { DEFAULT_RETRY } from './caller.ts';

/** Config keys of everything that is asked over HTTP. */

/** The name of an environment variable. A value in its place would be stored with the run. */
export const environmentName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be the name of an environment variable, not a value');

/** The name of an HTTP header (RFC 9110). */
export const headerName = z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'must be the name of a header');

/** An address to ask. Keys belong in the environment, so an address that holds one is refused. */
export const webAddress = line.refine((text) => addressProblem(text) === undefined, {
  error: ({ input }) => addressProblem(String(input)) ?? 'must be an address',
});

/** Describes the key of a server that takes it as a bearer token. */
export const KEY_WORDS = 'environment variable that holds the key, sent as a bearer token';

/** Headers beside ours, for a request without a template. */
export const environmentHeaders = z
  .record(headerName, environmentName)
  .default({})
  .describe('further headers: the value of each is the name of an environment variable that holds it');

/** For one call, in seconds. */
export const callSeconds = positive.max(3600).default(120);
export const callsAtOnce = positiveCount.max(1024).default(8);
export const retriesField = count.max(20).default(DEFAULT_RETRY.retries);

export const httpMethod = z.enum(['POST', 'GET', 'PUT', 'PATCH']).default('POST');

/** The body of a request template. @param where ends the description of each form of it. */
export function templateBody(where: { readonly json: string; readonly form: string } = { json: '', form: '' }) {
  return z
    .strictObject({
      json: z.unknown().optional().describe(`the body as YAML or as a text of JSON${where.json}`),
      form: z.record(z.string(), z.string()).optional().describe(`the fields of a form${where.form}`),
    })
    .refine(({ json, form }) => json === undefined || form === undefined, 'must hold json or form, not both')
    .optional();
}

/** The address of a method of a server; a query of `baseUrl` is kept. */
export function methodUrl(baseUrl: string, method: string): URL {
  const url = new URL(baseUrl);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${method}`;
  return url;
}

/** A placeholder in the host would let an attack choose where it is sent, with the headers of the config. */
const PLACEHOLDER_IN_HOST = /^[^/]*\/\/[^/?#]*\{\{/;

function addressProblem(text: string): string | undefined {
  if (PLACEHOLDER_IN_HOST.test(text)) return 'must hold no placeholder in its host';
  if (!URL.canParse(text)) return 'must be an http or https address';
  const { protocol, username, password, searchParams } = new URL(text);
  if (!/^https?:$/.test(protocol)) return 'must be an http or https address';
  if (username !== '' || password !== '') return 'must hold no user or password: name a variable in headers';
  const isOpen = ([name, value]: [string, string]) => SECRET_NAME.test(name) && !value.startsWith('{{');
  const secret = [...searchParams].find(isOpen)?.[0];
  return secret === undefined ? undefined : `must hold no secret, got a value of ${secret}: name a variable in headers`;
}

/** Names of query parameters that hold secrets. */
const SECRET_NAME = /key|token|secret|password|signature|^sig$/i;

/** Keys that hold an address that is asked. */
const ADDRESS_KEYS = ['baseUrl', 'url'];

/** Every `baseUrl` and `url` in a config, at any depth: judges hold judges. A `body` is sent, not asked. */
export function addressesNamed(config: unknown): URL[] {
  if (config === null || typeof config !== 'object') return [];
  return Object.entries(config).flatMap(([key, value]) => {
    if (key === 'body') return [];
    const isAddress = ADDRESS_KEYS.includes(key) && typeof value === 'string' && URL.canParse(value);
    return isAddress ? [new URL(value)] : addressesNamed(value);
  });
}

/** The hosts of `addressesNamed`. */
export function hostsNamed(config: unknown): string[] {
  return [...new Set(addressesNamed(config).map(({ host }) => host))];
}
