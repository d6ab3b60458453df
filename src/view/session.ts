import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { ApiError } from '../serve/api-error.ts';
import { isSameSecret, readJson } from '../serve/http-guard.ts';

const SECRET_BYTES = 32;

export const newSecret = (): string => randomBytes(SECRET_BYTES).toString('base64url');

/** Browsers send the cookies of one host to all its ports: the port in the name keeps two viewers apart. */
const cookieName = (port: number): string => `floodgate-view-${port}`;

function cookieOf({ headers }: IncomingMessage, name: string): string | undefined {
  const pairs = (headers.cookie ?? '').split(';').map((pair) => pair.trim());
  return pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
}

/**
 * Refuses a request that another site caused. A browser says with `Origin` who asks, and with `Sec-Fetch-Site` whether
 * it is the same site; another port of this machine is another origin.
 */
export function checkOrigin({ headers, method }: IncomingMessage): void {
  const { origin, host, 'sec-fetch-site': site } = headers;
  const isOwn = origin === undefined ? method === 'GET' : origin === `http://${host}`;
  const isNear = site === undefined || site === 'same-origin' || (site === 'none' && method === 'GET');
  if (isOwn && isNear) return;
  throw new ApiError(403, 'the request came from another site', { code: 'bad_origin' });
}

const exchange = z.strictObject({ token: z.string().max(200) });

/** The token of the printed address, and the cookie that a page gets for it. */
export class ViewSession {
  readonly token = newSecret();
  private readonly cookie = newSecret();

  /** Answers a token with the cookie: no script reads it, and no other site's request carries it. @throws ApiError 401. */
  async begin(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = exchange.safeParse(await readJson(request));
    if (!body.success || !isSameSecret(body.data.token, this.token))
      throw new ApiError(401, 'the token is wrong; open the address that floodgate view printed', {
        code: 'invalid_token',
      });
    const name = cookieName(request.socket.localPort ?? 0);
    response.setHeader('set-cookie', `${name}=${this.cookie}; HttpOnly; SameSite=Strict; Path=/`);
    response.writeHead(204).end();
  }

  /** @throws ApiError 401 for a request without the cookie. */
  check(request: IncomingMessage): void {
    const given = cookieOf(request, cookieName(request.socket.localPort ?? 0));
    if (given !== undefined && isSameSecret(given, this.cookie)) return;
    throw new ApiError(401, 'no session; open the address that floodgate view printed', { code: 'no_session' });
  }
}
