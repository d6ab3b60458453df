import { redactSecrets } from '../base/errors.ts';

/** Why a call over the wire brought no answer. */
export type WireFault =
  | 'dns'
  | 'connection'
  | 'certificate'
  | 'timeout'
  | 'too-large'
  | 'status'
  /** The server answered, and the answer is not what its interface promises. */
  | 'protocol';

export interface WireFailureDetails {
  /** Whether the same call may succeed later. */
  readonly isTransient: boolean;
  readonly status?: number;
  /** The whole body of an answer with a bad status. */
  readonly body?: string;
  /** How long the server asks to wait. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** One failed call. Secrets are redacted from its message; `body` is as the server sent it, but for secrets in use. */
export class WireFailure extends Error {
  readonly fault: WireFault;
  readonly isTransient: boolean;
  readonly status: number | undefined;
  readonly body: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(fault: WireFault, message: string, details: WireFailureDetails) {
    super(redactSecrets(message), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'WireFailure';
    this.fault = fault;
    this.isTransient = details.isTransient;
    this.status = details.status;
    this.body = details.body === undefined ? undefined : redactSecrets(details.body);
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** Longest part of a body that a message shows. */
const EXCERPT_CHARACTERS = 300;

/** Longest part of a body in which secrets and white space are looked for. */
const READ_CHARACTERS = 64 * 1024;

/** The beginning of a body on one line. Secrets are hidden before it is cut: half a secret is found no more. */
export function excerpt(body: string): string {
  const line = redactSecrets(body.slice(0, READ_CHARACTERS)).replace(/\s+/g, ' ').trim();
  if (line === '') return 'an empty body';
  return line.length > EXCERPT_CHARACTERS ? `${line.slice(0, EXCERPT_CHARACTERS)}…` : line;
}

/** The beginning of a value as JSON, on one line; its type where it cannot be written. */
export function excerptOfValue(value: unknown): string {
  try {
    return excerpt(JSON.stringify(value) ?? String(value));
  } catch {
    return `a value of type ${typeof value}`; // nested too deeply, or in a circle
  }
}

/** Statuses that every further call would get as well. */
const LASTING = new Set([401, 403, 404, 405, 407, 410]);

/** Whether every further call would fail like this one. */
export function isLasting({ fault, status }: WireFailure): boolean {
  if (fault === 'certificate') return true;
  return status !== undefined && (LASTING.has(status) || (status >= 300 && status < 400));
}

/** The address without its query, which a gateway may use for secrets of its own. */
export function shownAddress(url: URL): string {
  return `${url.origin}${url.pathname}`;
}
