import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ServedFile {
  readonly name: string;
  content: Buffer;
  /** Large files live in the storage, on another port, as on the hub. */
  readonly isLarge: boolean;
}

export interface SeenRequest {
  readonly server: 'hub' | 'storage';
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

/** Answers a request in its own way and returns true, or returns false to let the server do its work. */
export type Misbehaviour = (
  request: IncomingMessage,
  response: ServerResponse,
  server: SeenRequest['server'],
) => boolean;

export const REPOSITORY = 'someone/tiny-model';
export const COMMIT = 'c0ffee'.repeat(6).concat('c0ff');

/** A real HTTP server that answers as the hub does: listing, redirects to a storage on another port, Range, ETag. */
export class HubServer {
  readonly seen: SeenRequest[] = [];
  files: ServedFile[] = [];
  commit = COMMIT;
  misbehave: Misbehaviour = () => false;
  private readonly hub: Server = createServer((request, response) => this.answer('hub', request, response));
  private readonly storage: Server = createServer((request, response) => this.answer('storage', request, response));

  async open(): Promise<void> {
    for (const server of [this.hub, this.storage]) {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    }
  }

  async close(): Promise<void> {
    for (const server of [this.hub, this.storage]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  get endpoint(): string {
    return urlOf(this.hub);
  }

  get storageUrl(): string {
    return urlOf(this.storage);
  }

  /** Requests for the content of this file, storage only for large ones. */
  downloadsOf(name: string): SeenRequest[] {
    const isLarge = this.files.find((file) => file.name === name)?.isLarge === true;
    return this.seen.filter(({ server, path }) => path.endsWith(`/${name}`) && (server === 'storage') === isLarge);
  }

  listing(): object {
    const siblings = this.files.map(({ name, content, isLarge }) => ({
      rfilename: name,
      size: content.length,
      blobId: gitSha1(content),
      ...(isLarge ? { lfs: { sha256: sha256(content), size: content.length, pointerSize: 134 } } : {}),
    }));
    return { id: REPOSITORY, sha: this.commit, siblings };
  }

  private answer(server: SeenRequest['server'], request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent((request.url ?? '').split('?')[0] ?? '');
    this.seen.push({ server, path, headers: request.headers });
    if (this.misbehave(request, response, server)) return;
    if (server === 'hub' && path.startsWith(`/api/models/${REPOSITORY}/revision/`)) {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(this.listing()));
      return;
    }
    const file = this.files.find(({ name }) => path === `/${REPOSITORY}/resolve/${this.commit}/${name}`);
    if (file === undefined) {
      response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end('Entry not found');
    } else if (server === 'hub' && file.isLarge) {
      const location = this.storageUrl + (request.url ?? '');
      const linked = { 'x-linked-etag': `"${sha256(file.content)}"`, 'x-linked-size': file.content.length };
      response.writeHead(302, { location, ...linked, 'x-repo-commit': this.commit }).end('Found');
    } else {
      sendContent(request, response, file);
    }
  }
}

/** Sends a file as storage does: strong ETag, Range, If-Range, 416. */
export function sendContent(
  request: IncomingMessage,
  response: ServerResponse,
  { content, isLarge }: ServedFile,
): void {
  const etag = `"${isLarge ? createHash('md5').update(content).digest('hex') : gitSha1(content)}"`;
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? Number.NaN);
  const isSame = request.headers['if-range'] === undefined || request.headers['if-range'] === etag;
  if (Number.isNaN(from) || !isSame) {
    response.writeHead(200, { etag, 'content-length': content.length, 'accept-ranges': 'bytes' }).end(content);
  } else if (from >= content.length) {
    response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
  } else {
    const range = `bytes ${from}-${content.length - 1}/${content.length}`;
    response.writeHead(206, { etag, 'content-length': content.length - from, 'content-range': range });
    response.end(content.subarray(from));
  }
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

export function gitSha1(content: Buffer): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}
