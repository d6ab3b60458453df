import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { registerSecret } from '../../base/errors.ts';
import type { Environment } from './source-environment.ts';

/** Longest netrc file that is read; a real one has a few lines. */
const MAX_NETRC_CHARS = 1 << 20;

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Value of an `Authorization` header (RFC 7617). */
export function basicAuthorization(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`;
}

/** Keeps these credentials out of every later message, in each form in which a server may echo them. */
export function hideCredentials({ user, password }: Credentials): void {
  const secret = password === '' ? user : password;
  for (const form of [secret, encodeURIComponent(secret), basicAuthorization(user, password).slice('Basic '.length)]) {
    registerSecret(form);
  }
}

/** Splits `https://user:password@host/` into the address without them, and them. Both are hidden from messages. */
export function takeCredentials(address: URL): { readonly url: URL; readonly credentials: Credentials | undefined } {
  const url = new URL(address);
  if (url.username === '' && url.password === '') return { url, credentials: undefined };
  const credentials = { user: decode(url.username), password: decode(url.password) };
  hideCredentials(credentials);
  url.username = '';
  url.password = '';
  return { url, credentials };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Reads the netrc file (`NETRC`, else `~/.netrc`, else `~/_netrc`); returns the credentials of each named host. The
 * `default` entry is left out: an index may link to any host, and none of them should learn it.
 */
export async function readNetrc(env: Environment): Promise<ReadonlyMap<string, Credentials>> {
  const home = env.HOME || homedir();
  const paths = env.NETRC ? [env.NETRC] : [join(home, '.netrc'), join(home, '_netrc')];
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text !== undefined) return parseNetrc(text.slice(0, MAX_NETRC_CHARS));
  }
  return new Map();
}

/** Parses netrc text. A line that begins with `#` is a comment, a `macdef` ends at an empty line. */
export function parseNetrc(text: string): ReadonlyMap<string, Credentials> {
  const bare = withoutMacros(text).replace(/^\s*#.*$/gm, '');
  const tokens = bare.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
  const found = new Map<string, Credentials>();
  let host: string | undefined;
  let user = '';
  for (let index = 0; index < tokens.length; index++) {
    const value = unquote(tokens[index + 1] ?? '');
    switch (tokens[index]) {
      case 'machine':
        host = value.toLowerCase();
        user = '';
        index++;
        break;
      case 'default':
        host = undefined;
        break;
      case 'login':
        user = value;
        index++;
        break;
      case 'account':
        index++;
        break;
      case 'password':
        if (host !== undefined && !found.has(host)) found.set(host, { user, password: value });
        index++;
        break;
    }
  }
  return found;
}

/** Leaves out `macdef` and the lines up to the next empty one: a macro may hold any words. */
function withoutMacros(text: string): string {
  const blocks = text.split(/\r?\n[^\S\n]*\r?\n/);
  return blocks.map((block) => block.replace(/^\s*macdef\s[\s\S]*/m, '')).join('\n\n');
}

function unquote(token: string): string {
  return token.startsWith('"') && token.endsWith('"') && token.length > 1
    ? token.slice(1, -1).replace(/\\(.)/g, '$1')
    : token;
}
