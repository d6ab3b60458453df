import { createHmac, timingSafeEqual } from 'node:crypto';
import { canonicalJson } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';
import { type Environment, readOwnVariable } from '../wire/secrets.ts';
import { KEY_VARIABLE } from './queue-section.ts';

/** Shortest key: 16 characters of base64 are 96 bits. */
const MIN_KEY_LENGTH = 16;

/** A text and its signature; null without a key. */
export interface Signed {
  readonly payload: string;
  readonly mac: string | null;
}

/** The purpose of a text. A signed result never passes for a job. */
export type Purpose = 'job' | 'result' | 'progress';

/** Signs texts and checks signatures, with one key or without any. */
export interface Signer {
  readonly hasKey: boolean;
  sign(purpose: Purpose, value: unknown): Signed;
  /** Why the text is refused; undefined where it is signed with this key, or neither side has one. */
  problemOf(purpose: Purpose, signed: Signed): string | undefined;
}

/** HMAC-SHA256 over the purpose and the text, in hex. */
function macOf(key: string, purpose: Purpose, payload: string): string {
  return createHmac('sha256', key).update(`floodgate queue ${purpose}\n`).update(payload).digest('hex');
}

function areEqual(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** @param key undefined: nothing is signed, and what is signed is refused. */
export function createSigner(key: string | undefined): Signer {
  return {
    hasKey: key !== undefined,
    sign: (purpose, value) => {
      const payload = canonicalJson(value);
      return { payload, mac: key === undefined ? null : macOf(key, purpose, payload) };
    },
    problemOf: (purpose, { payload, mac }) => {
      if (key === undefined) return mac === null ? undefined : `it is signed, and this side has no ${KEY_VARIABLE}`;
      if (mac === null) return 'it is not signed';
      return areEqual(mac, macOf(key, purpose, payload)) ? undefined : 'it is signed with another key';
    },
  };
}

/**
 * The key of the environment. @throws FloodgateError `config` for a key that is too short, and for none where others can
 * reach the queue.
 */
export function openSigner(isLoopback: boolean, env: Environment = process.env): Signer {
  if ((env[KEY_VARIABLE] ?? '').trim() === '') {
    if (isLoopback) return createSigner(undefined);
    throw new FloodgateError('config', `queue: the environment variable ${KEY_VARIABLE} is not set`, {
      hint: `a queue on another machine takes signed jobs alone: export ${KEY_VARIABLE}="$(openssl rand -base64 32)" on every side`,
    });
  }
  const key = readOwnVariable(KEY_VARIABLE, 'queue', env);
  if (key.length < MIN_KEY_LENGTH)
    throw new FloodgateError(
      'config',
      `queue: ${KEY_VARIABLE} has ${key.length} characters, expected ${MIN_KEY_LENGTH}`,
      {
        hint: `export ${KEY_VARIABLE}="$(openssl rand -base64 32)"`,
      },
    );
  return createSigner(key);
}
