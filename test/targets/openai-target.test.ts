import { mkdtemp, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { FloodgateError, hideSecretsInUse, redactSecrets } from '../../src/base/errors.ts';
import { targetSchema } from '../../src/targets/registry.ts';
import { selfSignedCertificate } from '../support/self-signed.ts';
import { createTargetHost, openFrom, planFrom } from './open-target.ts';
import {
  type Fault,
  type OpenAiQuirks,
  openAiAnswers,
  sendJson,
  startTestServer,
  type TestServer,
} from './openai-server.ts';
import { asking, DECODE, describeTargetContract, textsOf } from './target-contract.ts';

const servers: TestServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function start(quirks: OpenAiQuirks = {}): Promise<TestServer> {
  const server = await startTestServer(openAiAnswers(quirks));
  servers.push(server);
  return server;
}

function configFor(server: TestServer, changes: Record<string, unknown> = {}) {
  return { kind: 'openai', baseUrl: `${server.url}/v1`, model: 'm', retries: 2, ...changes };
}

async function open(server: TestServer, changes: Record<string, unknown> = {}) {
  return openFrom(configFor(server, changes));
}

const FATES = { refused: 'please refuse', failed: 'break down' };
for (const n of ['kept', 'ignored', 'refused'] as const)
  describeTargetContract(`openai target, n ${n}`, async () => (await open(await start({ n }))).target, FATES);
describeTargetContract(
  'openai target of completions without usage',
  async () => (await open(await start({ hasUsage: false }), { api: 'completions' })).target,
  FATES,
);

const request = (attack: string, i = 0) => ({ attack, streamName: ['t', i] });
const attacks = (count: number) => Array.from({ length: count }, (_, i) => request(`attack ${i}`, i));
const bodies = (server: TestServer) => server.seen.map(({ body }) => JSON.parse(body) as Record<string, unknown>);

describe('the requests of an openai target', () => {
  it('hold the chat, the decoding, a seed of their own, and the keys of the config, which win', async () => {
    const server = await start();
    const { target } = await open(server, {
      systemPrompt: 'be nice',
      tokenLimit: 'max_completion_tokens',
      extraBody: { temperature: 0.25, stop: ['x'] },
      headers: {},
    });
    await target.ask([request('one'), request('one', 1)], asking(1, { decode: { ...DECODE, topK: 3 } }));
    await target.close();
    const [first, second] = bodies(server).slice(1);
    expect(first).toEqual({
      model: 'm',
      messages: [
        { role: 'system', content: 'be nice' },
        { role: 'user', content: 'one' },
      ],
      temperature: 0.25,
      top_p: 0.95,
      top_k: 3,
      max_completion_tokens: 8,
      seed: expect.any(Number),
      stop: ['x'],
    });
    expect(second?.seed).not.toBe(first?.seed);
  });

  it('draw all responses together where the server does, and one by one for the rest of the run where it does not', async () => {
    const drawn = async (n: NonNullable<OpenAiQuirks['n']>) => {
      const server = await start({ n });
      const { target } = await open(server);
      await target.ask(attacks(6), asking(3));
      await target.ask(attacks(2), asking(3));
      await target.close();
      return bodies(server)
        .slice(1)
        .map((body) => body.n ?? 1);
    };
    expect(await drawn('kept')).toEqual(Array(8).fill(3));
    // One request finds out: its one answer is kept, so the others make 3 x 8 - 1 calls.
    expect((await drawn('ignored')).sort()).toEqual([...Array(23).fill(1), 3]);
    expect((await drawn('refused')).sort()).toEqual([...Array(24).fill(1), 3]);
  });

  it('have no seed where the config wants none, and the same seed for the same stream', async () => {
    const server = await start();
    const plain = await open(server, { sendSeed: false });
    await plain.target.ask([request('a')], asking(1));
    expect(bodies(server).some((body) => 'seed' in body)).toBe(false);
    const seeds: unknown[] = [];
    for (let i = 0; i < 2; i++) {
      const { target } = await open(server);
      await target.ask([request('a')], asking(1));
      seeds.push(bodies(server).at(-1)?.seed);
    }
    expect(seeds[0]).toEqual(seeds[1]);
  });

  it('are never more at once than the config says', async () => {
    const server = await startTestServer(async (response, seen) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return openAiAnswers()(response, seen);
    });
    servers.push(server);
    const { target } = await open(server, { concurrency: 3 });
    const [answers] = await Promise.all([target.ask(attacks(10), asking(1)), target.ask(attacks(10), asking(1))]);
    expect(answers.flatMap(textsOf)).toHaveLength(10);
    expect(server.peak).toBe(3);
  });

  it('carry the key of the environment or a file, and headers by the names of their variables', async () => {
    const server = await start({ key: 'key-of-this-test' });
    process.env.FLOODGATE_TEST_KEY = 'key-of-this-test';
    process.env.FLOODGATE_TEST_TENANT = 'tenant-of-this-test';
    const keyFile = join(await mkdtemp(join(tmpdir(), 'floodgate-key-')), 'key');
    await writeFile(keyFile, 'key-of-this-test\n');
    try {
      const headers = { 'X-Tenant': 'FLOODGATE_TEST_TENANT' };
      await open(server, { apiKeyEnv: 'FLOODGATE_TEST_KEY', headers });
      expect(server.seen.at(-1)?.headers['x-tenant']).toBe('tenant-of-this-test');
      await open(server, { apiKeyFile: keyFile });
      expect(redactSecrets('tenant-of-this-test')).toBe('[redacted]');
      // A tenant may be an ordinary word, and answers keep it; a key they lose.
      expect(hideSecretsInUse('key-of-this-test of tenant-of-this-test')).toBe('[redacted] of tenant-of-this-test');
    } finally {
      delete process.env.FLOODGATE_TEST_KEY;
      delete process.env.FLOODGATE_TEST_TENANT;
    }
  });
});

/** Faults after which the same call may succeed. */
const PASSING: Record<string, Fault> = {
  'status 429 without Retry-After': (response) => sendJson(response, { error: 'slow down' }, 429),
  'status 429 with Retry-After': (response) => response.writeHead(429, { 'retry-after': '0' }).end(),
  'status 500 in HTML': (response) => response.writeHead(500).end('<html>oops</html>'),
  'a reset before the answer': (response) => response.socket?.resetAndDestroy(),
  'a body cut in a character': (response) => {
    const body = Buffer.from('{"choices":[{"message":{"content":"é');
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 500 });
    response.write(body.subarray(0, -1), () => response.socket?.destroy());
  },
  'HTML with status 200': (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>hi</html>'),
  'an error with status 200': (response) => sendJson(response, { error: { message: 'overloaded', code: 503 } }),
  'an answer that never comes': () => undefined,
};

describe('an openai target under faults', () => {
  it.each(Object.entries(PASSING))('repeats a call after %s, and counts it once', async (_name, fault) => {
    const server = await start();
    const { target } = await open(server, { timeoutSeconds: 2, concurrency: 1 });
    server.faults.push(fault);
    const answers = await target.ask(attacks(2), asking(1));
    expect(answers.flatMap(textsOf)).toHaveLength(2);
    expect(answers.flat().map(({ usage }) => usage.calls)).toEqual([1, 1]);
    expect(server.seen).toHaveLength(4); // the check, two attacks, one of them again
    await target.close();
  });

  it.each(Object.entries(PASSING).slice(0, 7))(
    'fails an attack with its reason when %s does not pass',
    async (_name, fault) => {
      const server = await start();
      const { target } = await open(server, { retries: 1, concurrency: 1 });
      server.faults.push(fault, fault);
      const [first, second] = await target.ask(attacks(2), asking(1));
      expect(first?.[0]).toMatchObject({ kind: 'failed', usage: { calls: 1, tokens: 0 } });
      expect(first?.[0]?.kind === 'failed' && first[0].reason).toMatch(/after 1 retries/);
      expect(textsOf(second)).toHaveLength(1);
      await target.close();
    },
  );

  const LASTING: [string, Fault, string | RegExp][] = [
    ['no choices', (response) => sendJson(response, { choices: [] }), 'the answer holds no choices'],
    ['a choice too many', (r) => sendJson(r, { choices: [choice('a'), choice('b')] }), /holds 2 choices, expected 1/],
    [
      'a choice that is still thinking',
      (r) => sendJson(r, { choices: [{ ...choice(null), finish_reason: 'length' }] }),
      /8 tokens .* used up/,
    ],
    ['a choice without text', (r) => sendJson(r, { choices: [choice(null)] }), /holds no text, finish reason stop/],
    ['a JSON of another kind', (response) => sendJson(response, { answer: 'hello' }), /without a list of choices/],
    ['a packed body', (r) => r.writeHead(200, { 'content-encoding': 'gzip' }).end('x'), /packed with gzip/],
    ['50 MB', (response) => sendInParts(response, 50), /more than 8388608 bytes/],
    ['status 422', (response) => sendJson(response, { detail: 'too long' }, 422), /answered 422: .*too long/],
  ];
  const choice = (content: string | null) => ({ message: { content }, finish_reason: 'stop' });
  it.each(LASTING)('fails an attack with its reason, without another call, after %s', async (_name, fault, reason) => {
    const server = await start();
    const { target } = await open(server, { concurrency: 1 });
    server.faults.push(fault);
    const [first, second] = await target.ask(attacks(2), asking(1));
    expect(first).toEqual([
      { kind: 'failed', reason: expect.stringMatching(reason) as string, usage: { calls: 1, tokens: 0 } },
    ]);
    expect(textsOf(second)).toHaveLength(1);
    expect(server.seen).toHaveLength(3);
    await target.close();
  });

  it('fills up with single calls when fewer answers come than before', async () => {
    const server = await start();
    const { target } = await open(server, { concurrency: 1 });
    await target.ask(attacks(1), asking(3));
    server.faults.push((response) => sendJson(response, { choices: [choice('only one')] }));
    const [answers] = await target.ask(attacks(1), asking(3));
    expect(textsOf(answers)[0]).toBe('only one');
    expect(textsOf(answers)).toHaveLength(3);
    await target.close();
  });

  it('reads a refusal of the provider as an answer: by finish reason, by status 400, by the refusal of a message', async () => {
    const server = await start();
    const { target } = await open(server, { concurrency: 1 });
    const refusing = { choices: [{ message: { content: null, refusal: 'I will not.' }, finish_reason: 'stop' }] };
    server.faults.push(
      (response) => sendJson(response, { error: { code: 'content_policy_violation' } }, 400),
      (response) => sendJson(response, refusing),
    );
    const answers = await target.ask([request('a'), request('b'), request('please refuse')], asking(1));
    expect(answers.flat()).toEqual([
      { kind: 'refused', reason: 'content policy of the provider', usage: { calls: 1, tokens: 0 } },
      { kind: 'refused', reason: 'I will not.', usage: { calls: 1, tokens: 0 } },
      { kind: 'refused', reason: 'content filter of the provider', usage: { calls: 1, tokens: 0 } },
    ]);
    await target.close();
  });

  it('reads the status of a filter before the server as a refusal where the config says so, and stops otherwise', async () => {
    const server = await start();
    const forbid: Fault = (response) => response.writeHead(403).end('<html>blocked by the firewall</html>');
    const told = await open(server, { concurrency: 1, refusedStatus: [403] });
    server.faults.push(forbid);
    expect((await told.target.ask(attacks(2), asking(1))).flat()).toMatchObject([
      { kind: 'refused', reason: 'status 403 of a filter' },
      { kind: 'text' },
    ]);
    const untold = await open(server, { concurrency: 1 });
    server.faults.push(forbid);
    await expect(untold.target.ask(attacks(2), asking(1))).rejects.toMatchObject({
      message: expect.stringMatching(/answered 403: .*blocked by the firewall/) as string,
    });
  });

  it('shares the tokens of a request among its answers; a cut one has the limit', async () => {
    const server = await start();
    const { target } = await open(server, { concurrency: 1 });
    const choices = [
      { message: { content: 'cut off here' }, finish_reason: 'length' },
      { message: { content: 'a word and another one' }, finish_reason: 'stop' },
      { message: { content: '' }, finish_reason: 'stop' },
    ];
    server.faults.push((response) => sendJson(response, { choices, usage: { completion_tokens: 16 } }));
    const [answers] = await target.ask(attacks(1), asking(3));
    expect(answers?.map(({ usage }) => usage.tokens)).toEqual([8, 7, 1]);
    expect(answers?.map((answer) => answer.kind === 'text' && answer.truncated)).toEqual([true, false, false]);
    await target.close();
  });

  it('waits as long as Retry-After says, and no longer than its cap', async () => {
    const server = await start();
    const { target } = await open(server, { concurrency: 1, retryAfterSeconds: 1 });
    const timed = async (retryAfter: string) => {
      server.faults.push((response) => response.writeHead(429, { 'retry-after': retryAfter }).end());
      const began = performance.now();
      expect((await target.ask(attacks(1), asking(1))).flatMap(textsOf)).toHaveLength(1);
      return performance.now() - began;
    };
    expect(await timed('0.7')).toBeGreaterThanOrEqual(690);
    const capped = await timed('100000');
    expect(capped).toBeGreaterThanOrEqual(990);
    expect(capped).toBeLessThan(20_000);
    await target.close();
  });

  it('hears an abort while it waits and while it is answered', async () => {
    const server = await start();
    const { target } = await open(server, { concurrency: 1 });
    for (const fault of [(r) => r.writeHead(429, { 'retry-after': '50' }).end(), () => undefined] as Fault[]) {
      server.faults.push(fault);
      const controller = new AbortController();
      const call = target.ask(attacks(1), asking(1, { signal: controller.signal }));
      setTimeout(() => controller.abort(), 50);
      await expect(call).rejects.toMatchObject({ code: 'interrupted' });
    }
    await target.close();
  });

  it('stops the work, saying so, when a server is gone or the key is no longer accepted', async () => {
    const server = await start();
    const { target } = await open(server, { concurrency: 2, retries: 0 });
    server.faults.push(...Array.from({ length: 6 }, (): Fault => (response) => response.writeHead(503).end('gone')));
    await expect(target.ask(attacks(20), asking(1))).rejects.toMatchObject({
      code: 'target',
      message: expect.stringMatching(/6 calls in a row failed, the last: .* answered 503: gone/) as string,
      hint: expect.stringContaining('floodgate resume') as string,
    });
    expect(server.seen.length).toBeLessThanOrEqual(9);
    server.faults.push((response) => sendJson(response, { error: 'expired' }, 401));
    await expect(target.ask(attacks(1), asking(1))).rejects.toMatchObject({ code: 'target' });
    await target.close();
  });
});

function sendInParts(response: ServerResponse, megabytes: number): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.on('error', () => undefined);
  let left = megabytes;
  const part = Buffer.alloc(1 << 20, 0x20);
  const next = (): void => {
    if (left-- > 0) response.write(part, next);
    else response.end('{}');
  };
  next();
}

describe('an openai target that cannot be asked', () => {
  const refused = async (config: unknown, message: RegExp | string, hint: RegExp | string) => {
    const error: unknown = await openFrom(config).then(
      () => undefined,
      (caught: unknown) => caught,
    );
    expect(error).toBeInstanceOf(FloodgateError);
    const { message: got, hint: advice } = error as FloodgateError;
    expect(got).toMatch(message);
    expect(advice).toMatch(hint);
  };

  it('is refused by its schema: no web address, a password or a key in it, a key in place of a name', () => {
    const refusals = (changes: Record<string, unknown>) => {
      const { error } = targetSchema().safeParse({ kind: 'openai', baseUrl: 'http://h/v1', model: 'm', ...changes });
      return error?.issues.map(({ message }) => message).join();
    };
    expect(refusals({ baseUrl: 'localhost:8000' })).toMatch(/must be an http or https address/);
    expect(refusals({ baseUrl: 'http://me:pass@h/v1' })).toMatch(/no user or password/);
    expect(refusals({ baseUrl: 'http://h/v1?api_key=abc' })).toMatch(/api_key/);
    expect(refusals({ apiKeyEnv: 'sk-abc-def' })).toMatch(/name of an environment variable, not a value/);
    expect(refusals({ headers: { 'X-Key': 'Bearer abc' } })).toMatch(/name of an environment variable, not a value/);
    expect(refusals({})).toBeUndefined();
  });

  it('because of its address: no such name, nobody there, another page, a redirect', async () => {
    const server = await start();
    const config = configFor(server, { retries: 0 });
    const at = (baseUrl: string) => ({ ...config, baseUrl });
    await refused(
      at('http://no-such-host.invalid/v1'),
      /got http:\/\/no-such-host.invalid.*has no address/,
      /host name/,
    );
    await refused(at('http://127.0.0.1:1/v1'), /got http:\/\/127.0.0.1:1\//, /start the server/);
    await refused(at(server.url), /answered 404: <html>not here/, /often in \/v1/);
    server.faults.push((response) => response.writeHead(307, { location: 'http://elsewhere.invalid/v1' }).end());
    await refused(config, /answered 307: redirects to http:\/\/elsewhere.invalid/, /redirects are not followed/);
    server.faults.push((response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Log in</html>'),
    );
    await refused(config, /text\/html, expected JSON: <html>Log in/, /often ends in \/v1/);
  });

  it('because of its certificate, or a server without TLS', async () => {
    const { key, cert } = selfSignedCertificate();
    const secure = createSecureServer({ key, cert }, (_request, response) => response.end('{}'));
    await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
    const { port } = secure.address() as AddressInfo;
    try {
      const config = { kind: 'openai', baseUrl: `https://127.0.0.1:${port}/v1`, model: 'm', retries: 0 };
      await refused(config, /no secure connection: .*self.signed/i, /NODE_EXTRA_CA_CERTS/);
    } finally {
      secure.close();
    }
    const server = await start();
    const plain = configFor(server, { baseUrl: `${server.url.replace('http', 'https')}/v1`, retries: 0 });
    await refused(plain, /no secure connection/, /write http:\/\//);
  });

  it('because of its key: not set, missing, wrong; the message does not hold it', async () => {
    const server = await start({ key: 'right-key-of-this-test' });
    await refused(configFor(server), /answered 401/, /target.apiKeyEnv/);
    await refused(configFor(server, { apiKeyEnv: 'FLOODGATE_NOT_SET' }), /FLOODGATE_NOT_SET is not set/, /export/);
    process.env.FLOODGATE_TEST_KEY = 'wrong-key-of-this-test';
    const config = configFor(server, { apiKeyEnv: 'FLOODGATE_TEST_KEY' });
    await refused(config, /answered 401: .*\[redacted\]/, /does not accept the key in FLOODGATE_TEST_KEY/);
    const error = (await openFrom(config).catch((caught: unknown) => caught)) as FloodgateError;
    expect(inspect(error, { depth: 9 })).not.toContain('wrong-key-of-this-test');
    delete process.env.FLOODGATE_TEST_KEY;
  });

  it('because of its model, with those that the server has', async () => {
    const server = await start({ models: ['alpha', 'beta'] });
    await refused(configFor(server), /target.model: got m: .*no such model/, /the server has alpha, beta/);
  });

  it('end at once on an interrupt, while the list of models is awaited too', async () => {
    const answers = openAiAnswers({ models: ['alpha'] });
    const stop = new AbortController();
    const server = await startTestServer((response, seen) =>
      seen.path.endsWith('/models') ? stop.abort() : answers(response, seen),
    );
    const began = performance.now();
    await expect(planFrom(configFor(server), createTargetHost(stop.signal))).rejects.toMatchObject({
      code: 'interrupted',
    });
    expect(performance.now() - began).toBeLessThan(5000);
    await server.close();
  });

  it('because of a request that the server does not take, or an answer that is none', async () => {
    const server = await start();
    server.faults.push((response) => sendJson(response, { error: { message: 'unknown key seed' } }, 400));
    await refused(configFor(server), /answered 400: .*unknown key seed/, /target.sendSeed: false/);
    server.faults.push((response) => sendJson(response, { choices: [] }));
    await refused(configFor(server), /holds no choices/, /target.baseUrl/);
    await refused(configFor(server, { api: 'completions', systemPrompt: 'x' }), /systemPrompt/, /api: chat/);
  });
});
