import { readFileSync, statSync } from 'node:fs';
import { FloodgateError, registerPrivate, registerSecret } from '../base/errors.ts';

/** Longest secret that is read; stops a wrong file from being sent as a header. */
const MAX_SECRET_BYTES = 64 * 1024;

export type Environment = Readonly<Record<string, string | undefined>>;

/** Variables that configs may name; undefined: any. */
let readable: ReadonlySet<string> | undefined;

/**
 * From now on configs may name these variables alone: for a process that takes configs from others.
 * @returns ends it.
 */
export function readOnlyVariables(names: readonly string[]): () => void {
  const before = readable;
  readable = new Set(names);
  return () => {
    readable = before;
  };
}

/** The characters of a header (RFC 9110), without bytes above ASCII, which servers read in different ways. */
const HEADER_VALUE = /^[\t\x20-\x7e]+$/;

/** Names of variables, headers and config keys that hold secrets. */
const SECRET_NAME = /auth|key|token|secret|cookie|pass|session|credential|bearer|sign/i;

/**
 * A value by the name of its environment variable. It is kept out of every later message; a secret, as its name or that
 * of its header says, is also kept out of the answers of a server that echoes it.
 * @throws FloodgateError `config` when the variable is not set, naming the key that asks for it.
 */
export function readEnvironmentValue(name: string, key: string, env: Environment = process.env): string {
  if (readable !== undefined && !readable.has(name))
    throw new FloodgateError('config', `${key}: the environment variable ${name} may not be read here`, {
      hint: `where that is meant, start the worker with --allow-env ${name}`,
    });
  return readOwnVariable(name, key, env);
}

/** The same for a variable that no config from elsewhere names: it is always read. */
export function readOwnVariable(name: string, key: string, env: Environment = process.env): string {
  const value = env[name]?.trim();
  if (value === undefined || value === '')
    throw new FloodgateError('config', `${key}: the environment variable ${name} is not set`, {
      hint: `export ${name}=… in the shell that starts Floodgate, or name another variable in ${key}`,
    });
  const register = soundsSecret(`${name} ${key}`) ? registerSecret : registerPrivate;
  return keep(value, register, `${key}: the environment variable ${name}`);
}

function soundsSecret(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** Shortest value that no name of a secret goes with and that is taken for one: ids and keys, and no words. */
const RANDOM_CHARACTERS = 16;

/**
 * Whether a value that an app handed out is kept out of model texts too, and not only out of messages: the number of a
 * conversation is a word that answers may hold.
 */
export function looksSecret(name: string, value: string): boolean {
  return soundsSecret(name) || (value.length >= RANDOM_CHARACTERS && !/\s/.test(value));
}

/** The header of a key that a server takes as a bearer token; none without a variable. @throws as `readEnvironmentValue`. */
export function bearerHeader(variable: string | undefined, key: string): Record<string, string> {
  return variable === undefined ? {} : { authorization: `Bearer ${readEnvironmentValue(variable, key)}` };
}

/** A secret that is the text of a file. @throws FloodgateError `config` when the file cannot be read or is too long. */
export function readSecretFile(path: string, key: string): string {
  try {
    const { size } = statSync(path);
    if (size > MAX_SECRET_BYTES) throw new Error(`${size} bytes, expected at most ${MAX_SECRET_BYTES}`);
    const value = readFileSync(path, 'utf8').trim();
    if (value === '') throw new Error('the file is empty');
    return keep(value, registerSecret, `${key}: the file ${path}`);
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('config', `${key}: cannot read ${path}: ${reason}`, {
      hint: 'the file holds the key alone, on one line',
    });
  }
}

function keep(value: string, register: (form: string) => void, where: string): string {
  for (const form of secretForms(value)) register(form);
  if (!HEADER_VALUE.test(value))
    throw new FloodgateError('config', `${where} holds characters that no header may have`, {
      hint: 'expected printable ASCII on one line',
    });
  return value;
}

/** A secret as it is, and as an address, a form, JSON or an error of a server writes it. */
export function secretForms(value: string): string[] {
  const text = Buffer.from(value).toString(); // halves of surrogate pairs cannot be encoded
  const inForm = new URLSearchParams([['', text]]).toString().slice(1);
  return [...new Set([value, encodeURIComponent(text), inForm, JSON.stringify(value).slice(1, -1), bareToken(value)])];
}

/** `Bearer abc` without its scheme: errors of servers name the token alone. */
function bareToken(value: string): string {
  return value.replace(/^(Bearer|Basic|Token|ApiKey)\s+/i, '');
}
