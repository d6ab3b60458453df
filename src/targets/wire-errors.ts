import { FloodgateError } from '../base/errors.ts';
import { WireFailure } from '../wire/wire-failure.ts';

/** The address of a server and advice about it, for errors that name the config key at fault. */
export interface AskedAddress {
  /** Config key of the address, e.g. `target.baseUrl`. */
  readonly key: string;
  readonly url: URL;
  /** The advice at a status 401 or 403. */
  readonly keyHint: string;
  /** The advice at a status 404. */
  readonly notFoundHint: string;
  /** The advice at a request that the server does not accept. */
  readonly requestHint: string;
}

/** Statuses that every further call would get as well. */
const LASTING = new Set([401, 403, 404, 405, 407, 410]);

/** Whether no attack can be asked any more after this failure. */
export function isLasting({ fault, status }: WireFailure): boolean {
  if (fault === 'certificate') return true;
  return status !== undefined && (LASTING.has(status) || (status >= 300 && status < 400));
}

/** The address without its query, which a gateway may use for secrets of its own. */
export function shownAddress(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

function hintOf({ fault, status }: WireFailure, asked: AskedAddress): string {
  const { key, url, keyHint, notFoundHint, requestHint } = asked;
  if (fault === 'dns') return `check the host name in ${key}, and that this machine can resolve it`;
  if (fault === 'connection') return `start the server, or correct host and port in ${key}`;
  if (fault === 'certificate')
    return `NODE_EXTRA_CA_CERTS names the PEM file of an authority of your own; for a server without TLS write http:// in ${key}`;
  if (fault === 'timeout') return 'raise target.timeoutSeconds, or lower target.decode.maxNewTokens';
  if (fault === 'too-large') return 'lower target.decode.maxNewTokens; an answer is text of a few kilobytes';
  if (fault === 'protocol') return requestHint;
  if (status === 401 || status === 403) return keyHint;
  if (status === 404 || status === 405 || status === 410) return notFoundHint;
  if (status !== undefined && status >= 300 && status < 400)
    return `set ${key} to the address that it redirects to; redirects are not followed, since they would carry the key away`;
  if (status !== undefined && status < 500 && status !== 429) return requestHint;
  return `the server at ${url.host} is overloaded or broken: try again later`;
}

/** The error of a target that cannot be asked: the value, what came back, and what to do. */
export function wireError(failure: WireFailure, asked: AskedAddress): FloodgateError {
  return new FloodgateError('target', `${asked.key}: got ${shownAddress(asked.url)}: ${failure.message}`, {
    hint: hintOf(failure, asked),
    cause: failure,
  });
}

/** `error` as a `wireError` where it is a failure of a call. */
export function toWireError(error: unknown, asked: AskedAddress): unknown {
  return error instanceof WireFailure ? wireError(error, asked) : error;
}
