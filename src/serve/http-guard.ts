import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ApiError } from './api-error.ts';

/** A request body that would fill the memory. A chat of a whole context has some kilobytes. */
const MAX_BODY_BYTES = 1_048_576;
/** Of a body that is too large, so much is read and dropped: a client that still writes would not see the answer. */
const MAX_DROPPED_BYTES = 16 * MAX_BODY_BYTES;

/**
 * Refuses a request that names another host: a web page whose own name was pointed at this machine (DNS rebinding)
 * sends that name.
 */
export function checkHost({ headers }: IncomingMessage, port: number): void {
  const host = (headers.host ?? '').toLowerCase();
  const names = ['127.0.0.1', 'localhost', '[::1]'];
  if (names.some((name) => host === `${name}:${port}` || (port === 80 && host === name))) return;
  throw new ApiError(403, `this server answers to 127.0.0.1:${port} and localhost:${port} only`, { code: 'bad_host' });
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Compares digests: neither time nor length tells anything of the secret. */
export function isSameSecret(given: string, secret: string): boolean {
  return timingSafeEqual(digest(given), digest(secret));
}

export function checkToken({ headers }: IncomingMessage, token: string): void {
  const given = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1] ?? '';
  if (isSameSecret(given, token)) return;
  throw new ApiError(401, given === '' ? 'no token was given' : 'the token is wrong', {
    code: 'invalid_api_key',
    headers: { 'www-authenticate': 'Bearer' },
  });
}

async function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= maxBytes) chunks.push(chunk);
    else chunks.length = 0;
    if (size > MAX_DROPPED_BYTES) break;
  }
  if (size > maxBytes) {
    const details = { code: 'request_too_large', headers: { connection: 'close' } };
    throw new ApiError(413, `the body has more than ${maxBytes} bytes`, details);
  }
  return Buffer.concat(chunks);
}

/** The JSON body of a request. @throws ApiError 400, 413. */
export async function readJson(request: IncomingMessage, maxBytes = MAX_BODY_BYTES): Promise<unknown> {
  const bytes = await readBytes(request, maxBytes);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new ApiError(400, 'the body is not JSON in UTF-8', { code: 'invalid_json' });
  }
}

export function requireMethod({ method }: IncomingMessage, expected: 'GET' | 'POST'): void {
  if (method === expected) return;
  throw new ApiError(405, `got ${method}, expected ${expected}`, { headers: { allow: expected } });
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
  response.end(JSON.stringify(body));
}
