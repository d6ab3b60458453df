import { FloodgateError } from '../base/errors.ts';
import type { HttpCall } from '../wire/http-client.ts';
import { shownAddress, WireFailure } from '../wire/wire-failure.ts';
import { shownExchange, shownRequest } from './shown-request.ts';

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

function hintOf({ fault, status }: WireFailure, asked: AskedAddress): string {
  const { key, url, keyHint, notFoundHint, requestHint } = asked;
  if (fault === 'dns') return `check the host name in ${key}, and that this machine can resolve it`;
  if (fault === 'connection') return `start the server, or correct host and port in ${key}`;
  if (fault === 'certificate')
    return `name the PEM file of an authority of your own in target.caFile or NODE_EXTRA_CA_CERTS; for a server without TLS write http:// in ${key}`;
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

/**
 * The error of a target that cannot be asked: the value, what came back, and what to do. With `call`, the exchange is
 * shown, without secrets.
 */
export function wireError(failure: WireFailure, asked: AskedAddress, call?: HttpCall): FloodgateError {
  const exchange = call === undefined ? '' : `\n${shownExchange(shownRequest(call), failure.body)}`;
  return new FloodgateError('target', `${asked.key}: got ${shownAddress(asked.url)}: ${failure.message}${exchange}`, {
    hint: hintOf(failure, asked),
    cause: failure,
  });
}

/** `error` as a `wireError` where it is a failure of a call. */
export function toWireError(error: unknown, asked: AskedAddress, call?: HttpCall): unknown {
  return error instanceof WireFailure ? wireError(error, asked, call) : error;
}
