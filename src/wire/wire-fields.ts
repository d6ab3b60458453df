import { z } from 'zod';
import { line } from '../base/config-fields.ts';

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

/** The host of every `baseUrl` and `url` in a config, at any depth: judges hold judges. A `body` is sent, not asked. */
export function hostsNamed(config: unknown): string[] {
  if (config === null || typeof config !== 'object') return [];
  const hosts = Object.entries(config).flatMap(([key, value]) => {
    if (key === 'body') return [];
    const isAddress = ADDRESS_KEYS.includes(key) && typeof value === 'string' && URL.canParse(value);
    return isAddress ? [new URL(value).host] : hostsNamed(value);
  });
  return [...new Set(hosts)];
}
