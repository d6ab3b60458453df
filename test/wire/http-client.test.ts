import { setMaxListeners } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createHttpClient, type HttpClient } from '../../src/wire/http-client.ts';
import { sendJson, startTestServer, type TestServer } from '../targets/openai-server.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function start(answer: Parameters<typeof startTestServer>[0]): Promise<TestServer> {
  const server = await startTestServer(answer);
  closers.push(() => server.close());
  return server;
}

function createClient(options: Partial<Parameters<typeof createHttpClient>[0]> = {}): HttpClient {
  const client = createHttpClient({ timeoutMs: 5000, connections: 4, env: {}, ...options });
  closers.push(() => client.close());
  return client;
}

const going = new AbortController().signal;
setMaxListeners(0, going);
const get = (url: string) => ({ method: 'GET', url: new URL(url), headers: {} });

/** A proxy that notes what it is asked for, and leads every host to `server`. */
async function startProxy(server: TestServer) {
  const asked: string[] = [];
  const { port } = new URL(server.url);
  const proxy = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(502).end();
  });
  const sockets: Socket[] = [];
  proxy.on('connect', (request, socket: Socket) => {
    asked.push(`CONNECT ${request.url}`);
    const upstream = connect(Number(port), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
    });
    sockets.push(socket, upstream);
    for (const each of [socket, upstream]) each.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, asked };
}

describe('the HTTP client', () => {
  it('asks through the proxy of the environment, but a server on this machine directly', async () => {
    const server = await start((response, { headers }) => sendJson(response, { host: headers.host }));
    const proxy = await startProxy(server);
    const client = createClient({ env: { HTTP_PROXY: proxy.url, NO_PROXY: 'direct.invalid' } });
    const { text } = await client.send(get('http://app.invalid/x'), going);
    expect(JSON.parse(text)).toEqual({ host: 'app.invalid' });
    expect(proxy.asked).toEqual(['CONNECT app.invalid:80']);
    await client.send(get(`${server.url}/x`), going);
    await expect(client.send(get('http://direct.invalid/'), going)).rejects.toMatchObject({ fault: 'dns' });
    expect(proxy.asked).toHaveLength(1);
  });

  it('asks a proxy that hangs up once, and tells so', async () => {
    let connections = 0;
    const proxy = createServer(); // without a listener for CONNECT it closes the connection
    proxy.on('connection', () => connections++);
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    closers.push(() => proxy.close());
    const { port } = proxy.address() as AddressInfo;
    const client = createClient({ env: {}, proxy: `http://127.0.0.1:${port}`, timeoutMs: 1000 });
    await expect(client.send(get('http://app.invalid/x'), going)).rejects.toMatchObject({
      fault: 'connection',
      message: expect.stringMatching(/proxy/) as string,
    });
    expect(connections).toBe(1);
  });

  it('names a proxy of the environment that it cannot use, and does not take it for a fault that passes', async () => {
    const client = createClient({ env: { HTTP_PROXY: 'socks5://127.0.0.1:1080' } });
    await expect(client.send(get('http://app.invalid/'), going)).rejects.toMatchObject({
      code: 'config',
      message: expect.stringContaining('HTTP_PROXY') as string,
    });
  });

  it('keeps its connections, and opens no more than it may', async () => {
    const ports = new Set<number | undefined>();
    const server = await start(async (response) => {
      ports.add(response.socket?.remotePort);
      await new Promise((resolve) => setTimeout(resolve, 5));
      response.end('x');
    });
    const client = createClient({ connections: 3 });
    await Promise.all(Array.from({ length: 30 }, () => client.send(get(server.url), going)));
    expect(ports.size).toBe(3);
  });

  it('decodes a body that is cut within a character by its parts', async () => {
    const server = await start((response) => {
      const bytes = Buffer.from('naïve 日本 😀');
      const next = (i: number): unknown =>
        i === bytes.length ? response.end() : response.write(bytes.subarray(i, i + 1), () => next(i + 1));
      next(0);
    });
    expect((await createClient().send(get(server.url), going)).text).toBe('naïve 日本 😀');
  });

  it('leaves out the byte order mark that some servers put before their JSON', async () => {
    const server = await start((response) => response.end('\ufeff{"a": "\ufeffb"}'));
    const { text } = await createClient().send(get(server.url), going);
    expect(JSON.parse(text)).toEqual({ a: '\ufeffb' });
  });

  it('gives up in time on a server that sends a byte now and then', async () => {
    const server = await start((response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(' '), 50);
      response.on('close', () => clearInterval(timer));
    });
    const client = createClient({ timeoutMs: 400 });
    await expect(client.send(get(server.url), going)).rejects.toMatchObject({ fault: 'timeout', isTransient: true });
  });

  it('reads no more of a body than it may, and can be used after it', async () => {
    let sent = 0;
    const server = await start((response, { path }) => {
      if (path !== '/') return response.end('x'.repeat(path === '/short' ? 1000 : 1001));
      response.on('error', () => undefined);
      const next = (): unknown => {
        sent++;
        return sent < 5000 && !response.destroyed ? response.write(Buffer.alloc(65_536), next) : response.end();
      };
      return next();
    });
    const client = createClient({ maxReplyBytes: 1000 });
    await expect(client.send(get(server.url), going)).rejects.toMatchObject({ fault: 'too-large', isTransient: false });
    expect((await client.send(get(`${server.url}/short`), going)).text).toHaveLength(1000);
    expect(sent).toBeLessThan(1000);
    await expect(client.send(get(`${server.url}/long`), going)).rejects.toMatchObject({ fault: 'too-large' });
  });

  it('follows no redirect and sends its headers nowhere else', async () => {
    const other = await start((response) => response.end('x'));
    const server = await start((response) => response.writeHead(308, { location: other.url }).end());
    const call = { ...get(server.url), headers: { authorization: 'Bearer redirect-secret' } };
    await expect(createClient().send(call, going)).rejects.toMatchObject({ fault: 'status', status: 308 });
    expect(other.seen).toEqual([]);
  });
});
