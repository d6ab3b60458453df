import { type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { serveModel } from '../../src/serve/serve.ts';
import { type Served, serveTiny, TOKEN } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serveTiny();
});
afterAll(async () => {
  await served.close();
  expect(liveSessionLabels()).toEqual([]);
});

interface Sent {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

interface ToSend {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** One request as it is, the right token and host unless `headers` says otherwise; an empty header is left out. */
function send({ method = 'POST', path = '/v1/chat/completions', headers = {}, body = '' }: ToSend): Promise<Sent> {
  const { port } = served.server;
  const all = { authorization: `Bearer ${TOKEN}`, host: `127.0.0.1:${port}`, ...headers };
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''));
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers: given }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const errorOf = ({ text }: Sent) => (JSON.parse(text) as { error: Record<string, unknown> }).error;
const GET = { method: 'GET', path: '/v1/models' };

describe('who may ask', () => {
  it('whoever has the token', async () => expect((await send(GET)).status).toBe(200));

  it.each([
    ['none', ''],
    ['a wrong one', 'Bearer another-token-of-a-test'],
    ['its beginning', `Bearer ${TOKEN.slice(0, -1)}`],
    ['one more character', `Bearer ${TOKEN}x`],
    ['another scheme', `Basic ${TOKEN}`],
  ])('nobody with %s', async (_name, authorization) => {
    for (const asked of [GET, { body: '{}' }, { ...GET, path: '/nothing' }]) {
      const sent = await send({ ...asked, headers: { authorization } });
      expect(sent.status).toBe(401);
      expect(errorOf(sent)).toMatchObject({ type: 'invalid_request_error', code: 'invalid_api_key' });
      expect(sent.text).not.toContain(TOKEN);
      expect(sent.text).not.toContain('[redacted]');
    }
  });

  it.each(['evil.example', 'evil.example:PORT', '127.0.0.1.evil.example:PORT', '127.0.0.1:1', 'localhost'])(
    'no page that calls this machine %s',
    async (host) => {
      const sent = await send({ ...GET, headers: { host: host.replace('PORT', String(served.server.port)) } });
      expect(sent.status).toBe(403);
      expect(errorOf(sent)).toMatchObject({ code: 'bad_host' });
    },
  );

  it('by the names of this machine', async () => {
    for (const name of ['localhost', 'LOCALHOST', '127.0.0.1'])
      expect((await send({ ...GET, headers: { host: `${name}:${served.server.port}` } })).status).toBe(200);
  });

  it('no other machine: only the loopback address listens', async () => {
    const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
    const outer = addresses.filter(({ internal, family }) => !internal && family === 'IPv4').map((one) => one.address);
    for (const host of outer) {
      const code = await new Promise((resolve) => {
        const socket = connect({ host, port: served.server.port }, () => resolve('connected'));
        socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
      });
      expect(code).toBe('ECONNREFUSED');
    }
    expect(served.server.url).toBe(`http://127.0.0.1:${served.server.port}/v1`);
  });
});

describe('bad requests', () => {
  it.each<[string, string | Buffer]>([
    ['nothing', ''],
    ['half an object', '{"model": "tiny"'],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22])],
  ])('%s is no JSON', async (_name, body) => {
    const sent = await send({ body });
    expect(sent.status).toBe(400);
    expect(errorOf(sent)).toMatchObject({ code: 'invalid_json', type: 'invalid_request_error', param: null });
  });

  it.each(['null', '[]', '"text"', '{}', '{"messages": []}'])('%s asks nothing', async (body) => {
    expect((await send({ body })).status).toBe(400);
  });

  it('a body of more than a megabyte, with its length or without, is not read', async () => {
    const body = JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'x'.repeat(2 ** 20) }] });
    for (const headers of [{ 'content-length': String(body.length) }, { 'transfer-encoding': 'chunked' }]) {
      const sent = await send({ body, headers });
      expect(sent.status).toBe(413);
      expect(errorOf(sent)).toMatchObject({ code: 'request_too_large' });
    }
    expect((await send(GET)).status).toBe(200);
  });

  it('nested a hundred thousand deep', async () => {
    expect((await send({ body: `${'['.repeat(100_000)}${']'.repeat(100_000)}` })).status).toBe(400);
  });

  it('a path or a method that is not there', async () => {
    expect((await send({ ...GET, path: '/v1/embeddings' })).status).toBe(404);
    expect((await send({ ...GET, path: '/v1/models/%E0%A4%A' })).status).toBe(404);
    const sent = await send({ method: 'GET' });
    expect([sent.status, sent.headers.allow]).toEqual([405, 'POST']);
  });

  it('an error before the first token of a stream has its own status', async () => {
    const body = JSON.stringify({ model: 'other', messages: [{ role: 'user', content: 'a' }], stream: true });
    const sent = await send({ body });
    expect([sent.status, sent.headers['content-type']]).toEqual([404, 'application/json']);
  });

  it('the log names requests, never what was in them', async () => {
    await send({ body: JSON.stringify({ model: 'secret words' }) });
    expect(served.log.at(-1)).toMatch(/^POST \/v1\/chat\/completions {2}400 {2}\d+\.\d s$/);
    expect(served.log.join('\n')).not.toContain('secret words');
  });
});

it('a port that is taken is refused with the way out', async () => {
  const taken = serveModel(served.model, { port: served.server.port, token: TOKEN });
  const error = await taken.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(FloodgateError);
  expect(error).toMatchObject({ code: 'usage', hint: expect.stringContaining('--port') });
});
