import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { redactSecrets } from '../../src/base/errors.ts';
import { callOf, SessionKeeper } from '../../src/targets/http-session.ts';
import { compileBefore } from '../../src/targets/http-steps.ts';
import { targetSchema } from '../../src/targets/registry.ts';
import type { Target } from '../../src/targets/target.ts';
import type { Caller } from '../../src/wire/caller.ts';
import { type Certificate, selfSigned } from './certificates.ts';
import { openFrom, planFrom } from './open-target.ts';
import { type SeenRequest, sendJson, startTestServer, type TestServer } from './openai-server.ts';
import { asking, describeTargetContract, textsOf } from './target-contract.ts';

const PASSWORD = 'fg-session-password-77';
const closers: (() => unknown)[] = [];
beforeAll(() => {
  process.env.FLOODGATE_TEST_PASSWORD = PASSWORD;
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => {
  delete process.env.FLOODGATE_TEST_PASSWORD;
});

/** An app with a login that lasts for some messages, a cookie, and conversations of one message each. */
async function startApp(messagesOfLogin = Number.POSITIVE_INFINITY) {
  const state = { logins: 0, left: 0, conversations: 0, open: new Set<string>(), refuseLogin: false };
  const tokenNow = () => `token-of-login-${state.logins}`;
  const server = await startTestServer((response, seen) => {
    const body = seen.body === '' ? {} : (JSON.parse(seen.body) as Record<string, unknown>);
    if (seen.path === '/login') {
      if (state.refuseLogin || body.password !== PASSWORD) return sendJson(response, { error: 'wrong password' }, 401);
      state.logins++;
      state.left = messagesOfLogin;
      response.setHeader('set-cookie', [`sid=cookie-of-login-${state.logins}; Path=/; HttpOnly`, 'theme=dark']);
      return sendJson(response, { session: { token: tokenNow(), user: 7 } });
    }
    const isIn =
      seen.headers.authorization === `Bearer ${tokenNow()}` &&
      seen.headers.cookie === `sid=cookie-of-login-${state.logins}; theme=dark`;
    if (!isIn || state.left <= 0) return sendJson(response, { error: 'log in' }, 401);
    if (seen.path === '/conversations') {
      const id = `c${state.conversations++}`;
      state.open.add(id);
      return sendJson(response, { id });
    }
    const [, id = ''] = /^\/conversations\/(\w+)\/messages$/.exec(seen.path) ?? [];
    if (!state.open.delete(id)) return sendJson(response, { error: 'no such conversation' }, 404);
    state.left--;
    const message = String(body.message);
    if (message.includes('please refuse')) return sendJson(response, { blocked: true });
    if (message.includes('break down')) return sendJson(response, { detail: 'cannot read that' }, 422);
    return sendJson(response, { reply: `you said ${message.length}, turn ${body.turn}, user ${body.user}` });
  });
  closers.push(() => server.close());
  return { server, state };
}

const sessionConfig = ({ url }: TestServer, changes: object = {}) => ({
  kind: 'http',
  url: `${url}/conversations/{{conversation}}/messages`,
  headers: { Authorization: 'Bearer {{token}}' },
  body: { json: { message: '{{attack}}', turn: '{{turn}}', user: '{{user}}' } },
  before: [
    {
      url: `${url}/login`,
      body: { json: { password: '{{env.FLOODGATE_TEST_PASSWORD}}' } },
      take: { token: '$.session.token', user: '$.session.user' },
    },
    {
      url: `${url}/conversations`,
      headers: { Authorization: 'Bearer {{token}}' },
      body: { json: { name: '{{id}}' } },
      take: { conversation: '$.id' },
      every: 'call',
    },
  ],
  answer: '$.reply',
  refusedWhen: { path: '$.blocked' },
  retries: 1,
  ...changes,
});

const attacks = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ attack: 'a'.repeat(i + 1), streamName: ['t', i] }));
const pathsOf = (seen: readonly SeenRequest[]) => seen.map(({ path }) => path.replace(/\/c\d+\//, '/C/'));

describeTargetContract(
  'http target with a login and conversations',
  async () => (await openFrom(sessionConfig((await startApp()).server))).target,
  { refused: 'please refuse', failed: 'break down' },
);

describe('the calls before an attack', () => {
  it('log in once, begin a conversation for each attack, and carry values and cookies over', async () => {
    const { server, state } = await startApp();
    const { target } = await openFrom(sessionConfig(server));
    const checked = server.seen.length;
    expect(pathsOf(server.seen)).toEqual(['/login', '/conversations', '/conversations/C/messages']);
    const answers = await target.ask(attacks(3), asking(2));
    expect(answers.map(textsOf)).toEqual([1, 2, 3].map((n) => Array(2).fill(`you said ${n}, turn 1, user 7`)));
    expect(pathsOf(server.seen.slice(checked)).sort()).toEqual(
      [...Array(6).fill('/conversations'), ...Array(6).fill('/conversations/C/messages'), '/login'].sort(),
    );
    expect(state.logins).toBe(2);
    expect(new Set(server.seen.filter(({ path }) => path === '/conversations').map(({ body }) => body)).size).toBe(7);
    await target.close();
  });

  it('are renewed once after a status 401, however many attacks find the session ended', async () => {
    const { server, state } = await startApp(4);
    const { target } = await openFrom(sessionConfig(server, { concurrency: 4 }));
    const answers = (await target.ask(attacks(12), asking(1))).flat();
    expect(answers.map(({ kind }) => kind)).toEqual(Array(12).fill('text'));
    // One for the check, then one for every four messages.
    expect(state.logins).toBeGreaterThanOrEqual(4);
    expect(state.logins).toBeLessThanOrEqual(7);
    state.left = 0;
    state.refuseLogin = true;
    await expect(target.ask(attacks(1), asking(1))).rejects.toMatchObject({
      code: 'target',
      message: expect.stringMatching(/target.before\[0\].url: got .*\/login: .*answered 401/) as string,
      hint: 'check the variables that target.before[0] names',
    });
    await target.close();
  });

  it('go on for the others when whoever began the login gives up', async () => {
    const { server } = await startApp();
    const { target } = await openFrom(sessionConfig(server));
    let logins = 0;
    server.faults.push(() => logins++); // the first login of the run is never answered
    const stop = new AbortController();
    const first = target.ask(attacks(1), asking(1, { signal: stop.signal }));
    await expect.poll(() => logins).toBe(1);
    const second = target.ask(attacks(2), asking(1));
    stop.abort();
    await expect(first).rejects.toMatchObject({ code: 'interrupted' });
    expect((await second).flatMap(textsOf)).toHaveLength(2);
    await target.close();
  });

  it('that a new login does not open are told by their own address', async () => {
    const { server } = await startApp();
    const [login, conversation] = sessionConfig(server).before;
    const locked = await startTestServer((response) => sendJson(response, { error: 'no such right' }, 401));
    closers.push(() => locked.close());
    const before = [login, { ...conversation, url: `${locked.url}/conversations` }];
    await expect(planFrom(sessionConfig(server, { before }))).rejects.toMatchObject({
      message: expect.stringMatching(/target.before\[1\].url: got .*\/conversations: .*no such right/) as string,
    });
    expect(locked.seen.length).toBe(2);
    expect(pathsOf(server.seen)).toEqual(['/login', '/login']);
  });

  it('keep password, token and cookies out of messages, answers and the shown exchange', async () => {
    const { server } = await startApp();
    const planned = await planFrom(sessionConfig(server));
    expect(planned.hosts).toEqual([server.host]);
    const check = await planned.check?.(new AbortController().signal);
    expect(check?.request).toMatch(/authorization: \[masked\]\ncookie: \[masked\]/);
    expect(redactSecrets(`token-of-login-2 cookie-of-login-2 ${PASSWORD}`)).toBe('[redacted] [redacted] [redacted]');
  });

  it('fail with the value that is not found, and are refused where they cannot work', async () => {
    const { server } = await startApp();
    const { before } = sessionConfig(server);
    const wrongPath = [{ ...before[0], take: { token: '$.token', user: '$.session.user' } }, before[1]];
    await expect(planFrom(sessionConfig(server, { before: wrongPath }))).rejects.toMatchObject({
      message: expect.stringMatching(/take.token: \$.token finds nothing; texts are at \$.session.token/) as string,
    });
    await expect(planFrom(sessionConfig(server, { before: [] }))).rejects.toThrow(
      /target.url: got \{\{conversation\}\}, expected one of attack, id, turn, .*env.NAME/,
    );
    const problem = (changes: object) =>
      targetSchema()
        .safeParse(sessionConfig(server, changes))
        .error?.issues.map(({ message }) => message)
        .join();
    expect(problem({ before: [before[1], before[0]] })).toMatch(/every: run before those of every: call/);
    expect(problem({ before: [{ ...before[0], take: { attack: '$.x' } }] })).toMatch(
      /must name each value by letters, digits and _, and by none of attack/,
    );
    expect(problem({ headers: { Authorization: 'Bearer abc.def' } })).toMatch(
      /name of an environment variable, not a value/,
    );
    await expect(planFrom(sessionConfig(server, { headers: { 'X-A': '{{attack}}' } }))).rejects.toThrow(
      /headers.X-A: got \{\{attack\}\}/,
    );
  });
});

it('a cookie that is marked secure is sent over no open connection, but to this machine', async () => {
  const caller: Caller = {
    call: async (_call, read) => {
      const setCookies = ['sid=of-tls; Path=/; Secure; HttpOnly', 'theme=dark'];
      return read({ status: 200, contentType: '', text: '', ms: 1, setCookies });
    },
  };
  for (const [host, open] of [
    ['app.example', 'theme=dark'],
    ['127.0.0.1', 'sid=of-tls; theme=dark'],
  ] as const) {
    const step = { method: 'POST', url: `https://${host}/login`, headers: {}, body: undefined, take: {}, every: 'run' };
    const keeper = new SessionKeeper(compileBefore([step] as Parameters<typeof compileBefore>[0]), caller);
    const draw = { id: 'a', seed: 1, turn: 1, maxTokens: 8, temperature: 1 };
    const { session } = await keeper.join(draw, new AbortController().signal);
    const cookieTo = (url: string) =>
      callOf('POST', { url: new URL(url), headers: {}, body: undefined, contentType: undefined }, session).headers
        .cookie;
    expect([cookieTo(`https://${host}/chat`), cookieTo(`http://${host}/chat`)]).toEqual([
      'sid=of-tls; theme=dark',
      open,
    ]);
  }
});

describe('an answer of server-sent events', () => {
  const stream = async (body: string, changes: object = {}) => {
    const server = await startTestServer((response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const bytes = Buffer.from(body);
      const middle = Math.floor(bytes.length / 2); // in the middle of a character, where there is one
      response.write(bytes.subarray(0, middle));
      setImmediate(() => response.end(bytes.subarray(middle)));
    });
    closers.push(() => server.close());
    const config = { kind: 'http', url: server.url, body: { json: { m: '{{attack}}' } }, sse: '$.delta', retries: 0 };
    const { target } = await openFrom({ ...config, ...changes });
    closers.push(() => target.close());
    return (await target.ask(attacks(1), asking(1)))[0]?.[0];
  };
  const event = (data: unknown) => `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\r\n\r\n`;

  it('is its pieces in order, with the tokens of the last event that counts them', async () => {
    const body = [
      ': a comment\n\n',
      'event: start\nid: 1\n',
      event({ type: 'start' }),
      event({ delta: 'Hél' }),
      event({ delta: 'lo ☃ ' }),
      'data: {"delta":\ndata: "there"}\n\n',
      event({ usage: { tokens: 2 } }),
      event({ usage: { tokens: 5 } }),
      event('[DONE]'),
    ].join('');
    expect(await stream(body, { tokens: '$.usage.tokens' })).toEqual({
      kind: 'text',
      text: 'Héllo ☃ there',
      truncated: false,
      usage: { calls: 1, tokens: 5 },
    });
  });

  it('is the data as it is with the path $, which keeps spaces and numbers', async () => {
    expect(
      await stream(['It', ' is', ' ', '5'].map((each) => `data: ${each}\n\n`).join(''), { sse: '$' }),
    ).toMatchObject({
      text: 'It is 5',
    });
  });

  it('is a refusal by a path or by words across its pieces', async () => {
    const body = event({ delta: 'I can' }) + event({ delta: 'not talk' }) + event({ blocked: true });
    expect(await stream(body, { refusedWhen: { path: '$.blocked' } })).toMatchObject({ kind: 'refused' });
    expect(await stream(body, { refusedWhen: { contains: ['I cannot talk'] } })).toMatchObject({ kind: 'refused' });
  });

  it('stops the run before it starts where the path finds nothing, or the stream ends with an error', async () => {
    await expect(stream(event({ text: 'hello' }))).rejects.toThrow(
      /target.sse: \$.delta finds nothing .*texts are at \$.text/,
    );
    await expect(stream(`${event({ delta: 'Hel' })}event: error\ndata: overloaded\n\n`)).rejects.toThrow(
      /the stream ended with an error: overloaded/,
    );
    await expect(stream(event({ delta: 'a' }), { answer: '$.reply' })).rejects.toThrow(/answer and sse, expected one/);
  });
});

describe('a secure connection and a proxy', () => {
  let folder: string;
  let server: Certificate;
  let client: Certificate;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'floodgate-tls-'));
    server = await selfSigned('localhost');
    client = await selfSigned('client-of-this-test');
    for (const [name, { cert, key }] of Object.entries({ server, client })) {
      writeFileSync(join(folder, `${name}.pem`), cert);
      writeFileSync(join(folder, `${name}-key.pem`), key);
    }
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** A server over TLS that tells the name in the client's certificate. */
  async function startTls(options: ServerOptions = {}): Promise<string> {
    const tls = createTlsServer({ cert: server.cert, key: server.key, ...options }, (request, response) => {
      const { subject } = (request.socket as TLSSocket).getPeerCertificate();
      request.resume().on('end', () => response.end(JSON.stringify({ reply: `hello ${subject?.CN ?? 'nobody'}` })));
    });
    await new Promise<void>((resolve) => tls.listen(0, '127.0.0.1', resolve));
    closers.push(() => {
      tls.closeAllConnections();
      return new Promise((resolve) => tls.close(resolve));
    });
    return `https://127.0.0.1:${(tls.address() as AddressInfo).port}/chat`;
  }
  const config = (url: string, changes: object = {}) => ({
    kind: 'http',
    url,
    body: { json: { m: '{{attack}}' } },
    answer: '$.reply',
    retries: 0,
    ...changes,
  });
  const ask = async (target: Target) => {
    closers.push(() => target.close());
    return textsOf((await target.ask(attacks(1), asking(1)))[0]);
  };

  it('trusts a certificate that caFile names, and no other', async () => {
    const url = await startTls();
    await expect(planFrom(config(url))).rejects.toMatchObject({
      hint: expect.stringContaining('target.caFile') as string,
    });
    await expect(planFrom(config(url, { caFile: join(folder, 'client.pem') }))).rejects.toThrow(/no secure connection/);
    const { target, facts } = await openFrom(config(url, { caFile: join(folder, 'server.pem') }));
    expect(facts.warnings.join()).not.toContain('certificate');
    expect(await ask(target)).toEqual(['hello nobody']);
  });

  it('checks no certificate with insecureTls, and says so', async () => {
    const { target, facts } = await openFrom(config(await startTls(), { insecureTls: true }));
    expect(facts.warnings[0]).toMatch(/certificate is not checked \(target.insecureTls\)/);
    expect(await ask(target)).toEqual(['hello nobody']);
  });

  it('shows a certificate of its own', async () => {
    const url = await startTls({ requestCert: true, rejectUnauthorized: true, ca: client.cert });
    const caFile = join(folder, 'server.pem');
    await expect(planFrom(config(url, { caFile }))).rejects.toMatchObject({ code: 'target' });
    const own = { caFile, certFile: join(folder, 'client.pem'), keyFile: join(folder, 'client-key.pem') };
    expect(await ask((await openFrom(config(url, own))).target)).toEqual(['hello client-of-this-test']);
    await expect(planFrom(config(url, { ...own, keyFile: undefined }))).rejects.toThrow(/one of certFile and keyFile/);
    writeFileSync(join(folder, 'none.pem'), 'no certificate');
    await expect(planFrom(config(url, { caFile: join(folder, 'none.pem') }))).rejects.toThrow(
      /caFile: cannot read .*BEGIN/,
    );
  });

  it('goes through the proxy that the config names, to this machine too', async () => {
    const asked: string[] = [];
    const proxy = createHttpServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      response.writeHead(500).end();
    });
    proxy.on('connect', (request, socket: Socket) => {
      asked.push(`CONNECT ${request.url} ${request.headers['proxy-authorization'] ?? ''}`);
      const [host = '', port] = (request.url ?? '').split(':');
      const through = connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        through.pipe(socket).pipe(through);
      });
      through.on('error', () => socket.destroy());
      socket.on('error', () => through.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    closers.push(() => {
      proxy.closeAllConnections();
      return new Promise((resolve) => proxy.close(resolve));
    });
    const address = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const url = await startTls();
    const changes = { caFile: join(folder, 'server.pem'), proxy: `http://${address}` };
    const { target, hosts } = await openFrom(config(url, changes));
    expect(hosts).toEqual([new URL(url).host, address]);
    expect(await ask(target)).toEqual(['hello nobody']);
    expect(asked.every((each) => each.startsWith(`CONNECT ${new URL(url).host}`))).toBe(true);
    expect(asked.length).toBeGreaterThan(0);
    process.env.FLOODGATE_TEST_PROXY = `http://user:pass-of-the-proxy@${address}`;
    await openFrom(config(url, { ...changes, proxy: 'FLOODGATE_TEST_PROXY' })).then(({ close }) => close());
    delete process.env.FLOODGATE_TEST_PROXY;
    expect(asked.at(-1)).toContain(`Basic ${Buffer.from('user:pass-of-the-proxy').toString('base64')}`);
    const problem = targetSchema().safeParse(config(url, { proxy: 'http://a:b@h' })).error?.issues[0]?.message;
    expect(problem).toMatch(/address without a password/);
  });
});
