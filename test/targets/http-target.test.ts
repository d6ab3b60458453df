import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { targetSchema } from '../../src/targets/registry.ts';
import { openFrom, planFrom } from './open-target.ts';
import { type SeenRequest, sendJson, startTestServer, type TestServer } from './openai-server.ts';
import { asking, DECODE, describeTargetContract, textsOf } from './target-contract.ts';

const servers: TestServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

/** The message of a user in a request of any form that these tests use. */
function messageOf({ path, headers, body }: SeenRequest): string {
  if (headers['content-type'] === 'application/json') return (JSON.parse(body) as { message: string }).message;
  if (body !== '') return new URLSearchParams(body).get('message') ?? '';
  return new URL(path, 'http://h').searchParams.get('message') ?? '';
}

function answerApp(response: ServerResponse, seen: SeenRequest): unknown {
  const message = messageOf(seen);
  if (message.includes('please refuse')) return sendJson(response, { blocked: true });
  if (message.includes('break down')) return sendJson(response, { detail: 'cannot read that' }, 422);
  if (message.includes('forbidden')) return sendJson(response, { detail: 'go away' }, 403);
  return sendJson(response, { reply: { text: `you said ${message.length}`, tokens: 4 }, blocked: false });
}

async function start(answer = answerApp): Promise<TestServer> {
  const server = await startTestServer(answer);
  servers.push(server);
  return server;
}

function configFor(server: TestServer, changes: Record<string, unknown> = {}) {
  return {
    kind: 'http',
    url: `${server.url}/chat`,
    body: { json: { message: '{{attack}}' } },
    answer: '$.reply.text',
    refusedWhen: { path: '$.blocked' },
    retries: 1,
    ...changes,
  };
}

const FATES = { refused: 'please refuse', failed: 'break down' };
const BODIES: [string, Record<string, unknown>][] = [
  ['JSON as YAML', {}],
  ['JSON as a text', { body: { json: '{"message": "{{ attack }}", "n": 1}' }, tokens: '$.reply.tokens' }],
  ['a form', { body: { form: { message: '{{attack}}' } } }],
];
for (const [name, changes] of BODIES)
  describeTargetContract(
    `http target with ${name}`,
    async () => (await openFrom(configFor(await start(), changes))).target,
    FATES,
  );

describe('the requests of an http target', () => {
  it('never leave their path, whatever an attack is made of', async () => {
    const server = await start((response, { path }) => sendJson(response, { reply: { text: path } }));
    const { target } = await openFrom(
      configFor(server, { url: `${server.url}/v1/ask/{{attack}}/now`, body: undefined }),
    );
    const asked = ['..', '.', '%2e%2E', '../../admin', '.x', '...'];
    const answers = await target.ask(
      asked.map((attack, i) => ({ attack, streamName: ['t', i] })),
      asking(1),
    );
    await target.close();
    expect(server.seen.every(({ path }) => path.startsWith('/v1/ask/') && path.endsWith('/now'))).toBe(true);
    const why = { kind: 'failed', reason: expect.stringContaining('would leave the path') as string };
    expect(answers.flat().slice(0, 2)).toMatchObject([why, why]);
    expect(answers.slice(2).flatMap(textsOf)).toEqual([
      '/v1/ask/%252e%252E/now',
      '/v1/ask/..%2F..%2Fadmin/now',
      '/v1/ask/.x/now',
      '/v1/ask/.../now',
    ]);
  });

  const HOSTILE = 'a "quote"}, \\ and \n {{id}} & message=b';

  it.each(BODIES)('hold the attack as it is in %s, whatever it contains', async (_name, changes) => {
    const server = await start();
    const { target } = await openFrom(configFor(server, changes));
    await target.ask([{ attack: HOSTILE, streamName: ['t'] }], asking(1));
    expect(messageOf(server.seen.at(-1) as SeenRequest)).toBe(HOSTILE);
    await target.close();
  });

  it('hold the attack in the address, escaped', async () => {
    const server = await start();
    const url = `${server.url}/ask?message={{attack}}&x=1`;
    const { target } = await openFrom(configFor(server, { url, method: 'GET', body: undefined }));
    await target.ask([{ attack: `${HOSTILE}#\ud800`, streamName: ['t'] }], asking(1));
    const seen = server.seen.at(-1) as SeenRequest;
    expect(seen).toMatchObject({ method: 'GET', body: '' });
    expect(messageOf(seen)).toBe(`${HOSTILE}#\ufffd`);
    expect(new URL(seen.path, 'http://h').searchParams.get('x')).toBe('1');
  });

  it('hold the other values: an id for each call, a seed, the decoding as numbers, the environment', async () => {
    process.env.FLOODGATE_TEST_TENANT = 'tenant-"77"';
    const server = await start();
    const json = {
      message: '{{attack}}',
      id: 'call {{id}}',
      options: [{ seed: '{{seed}}', max: '{{maxTokens}}', heat: '{{temperature}}' }],
      tenant: '{{env.FLOODGATE_TEST_TENANT}}',
    };
    const { target } = await openFrom(configFor(server, { body: { json } }));
    await target.ask([{ attack: 'a', streamName: ['t', 4] }], asking(2));
    const bodies = server.seen.slice(1).map(({ body }) => JSON.parse(body) as typeof json & { id: string });
    expect(bodies[0]).toEqual({
      message: 'a',
      id: expect.stringMatching(/^call t-4-[01]-\w+$/) as string,
      options: [{ seed: expect.any(Number) as number, max: DECODE.maxNewTokens, heat: DECODE.temperature }],
      tenant: 'tenant-"77"',
    });
    expect(new Set(bodies.map(({ id }) => id)).size).toBe(2);
    delete process.env.FLOODGATE_TEST_TENANT;
  });
});

describe('the answers of an http target', () => {
  const ask = async (changes: Record<string, unknown>, attack = 'a') => {
    const server = await start();
    const { target } = await openFrom(configFor(server, changes));
    return (await target.ask([{ attack, streamName: ['t'] }], asking(1)))[0]?.[0];
  };

  it('count the tokens that the app counts, and estimate them otherwise, saying so', async () => {
    expect(await ask({ tokens: '$.reply.tokens' })).toMatchObject({ usage: { calls: 1, tokens: 4 } });
    expect(await ask({})).toMatchObject({ usage: { tokens: 4, isEstimated: true } });
    const server = await start();
    expect((await planFrom(configFor(server))).facts.warnings).toEqual([expect.stringContaining('estimated')]);
  });

  it('are the whole body where no path is given', async () => {
    const server = await start((response) => response.end('plain words'));
    const { target } = await openFrom(configFor(server, { answer: undefined, refusedWhen: {} }));
    expect(textsOf((await target.ask([{ attack: 'a', streamName: [] }], asking(1)))[0])).toEqual(['plain words']);
  });

  it('are refusals by status, by path, and by words', async () => {
    expect(await ask({ refusedWhen: { status: [403] } }, 'forbidden')).toMatchObject({
      kind: 'refused',
      reason: 'the app refused: status 403',
    });
    expect(await ask({}, 'please refuse')).toMatchObject({ kind: 'refused', reason: 'the app refused: $.blocked' });
    expect(await ask({ refusedWhen: { contains: ['YOU SAID 1'] } })).toMatchObject({
      kind: 'refused',
      reason: 'the app refused: YOU SAID 1',
    });
  });

  it('fail, and end nothing, where a hostile app nests its answer a million times', async () => {
    const server = await start();
    const { target } = await openFrom(configFor(server, { answer: '$..text', tokens: '$..tokens' }));
    const deep = `{"reply":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`;
    server.faults.push((response) => response.end(deep));
    const answers = await target.ask(
      ['a', 'b'].map((attack) => ({ attack, streamName: [] })),
      asking(1),
    );
    expect(answers.flat().map(({ kind }) => kind)).toEqual(expect.arrayContaining(['failed', 'text']));
  });

  it('fail with the reason where an answer is not found; a status 403 stops the work, and says how to count it', async () => {
    const server = await start();
    const { target } = await openFrom(configFor(server));
    server.faults.push((response) => sendJson(response, { other: [{ 'a b': 'hello' }] }));
    const [[failed] = []] = await target.ask([{ attack: 'a', streamName: [] }], asking(1));
    expect(failed).toMatchObject({
      kind: 'failed',
      reason: expect.stringMatching(/\$.reply.text finds nothing in .*; texts are at \$.other\[0\]\["a b"\]/) as string,
    });
    await expect(target.ask([{ attack: 'forbidden', streamName: [] }], asking(1))).rejects.toMatchObject({
      code: 'target',
      hint: expect.stringContaining('target.refusedWhen.status') as string,
    });
  });
});

describe('an http target that cannot be asked', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestServer(answerApp);
  });
  afterAll(() => server.close());

  const REFUSALS: [string, Record<string, unknown>, RegExp, RegExp][] = [
    [
      'a template that is no JSON',
      { body: { json: '{"message": {{attack}}}' } },
      /body.json: got .*expected JSON/,
      /within quotes/,
    ],
    ['no place for the attack', { body: { json: { message: 'hi' } } }, /no \{\{attack\}\}/, /write \{\{attack\}\}/],
    [
      'an unknown placeholder',
      { body: { json: { message: '{{attack}} {{prompt}}' } } },
      /message: got \{\{prompt\}\}, expected/,
      /^$/,
    ],
    [
      'a variable that is not set',
      { body: { json: { message: '{{attack}} {{env.FG_NONE}}' } } },
      /FG_NONE is not set/,
      /export/,
    ],
    ['a path that is none', { answer: 'reply.text' }, /target.answer: got reply.text, expected a JSONPath/, /\$/],
    ['a path that finds nothing', { answer: '$.text' }, /\$.text finds nothing in .*\$.reply.text/, /target.body/],
    ['a path that finds no text', { answer: '$.reply' }, /\$.reply finds .*expected a text/, /target.body/],
    ['another path of the address', { url: 'http://127.0.0.1:1/chat' }, /127.0.0.1:1/, /target.url/],
  ];

  it.each(REFUSALS)('because of %s', async (_name, changes, message, hint) => {
    const error = (await openFrom(configFor(server, changes)).catch((caught: unknown) => caught)) as FloodgateError;
    expect(error).toBeInstanceOf(FloodgateError);
    expect(error.message).toMatch(message);
    expect(error.hint ?? '').toMatch(hint);
  });

  it('by its schema: an attack that would choose the host, two bodies, a secret in the address', () => {
    const refusal = (changes: Record<string, unknown>) =>
      targetSchema()
        .safeParse(configFor(server, changes))
        .error?.issues.map(({ message }) => message)
        .join();
    expect(refusal({ url: 'http://{{attack}}.example/x' })).toMatch(/no placeholder in its host/);
    expect(refusal({ body: { json: {}, form: {} } })).toMatch(/json or form/);
    expect(refusal({ url: 'http://h/x?token=abc' })).toMatch(/must hold no secret/);
    expect(refusal({ url: 'http://h/x?token={{env.TOKEN}}' })).toBeUndefined();
  });

  it('shows the exchange of its check without secrets', async () => {
    process.env.FLOODGATE_TEST_TENANT = 'tenant-of-the-check';
    const changes = {
      headers: { 'X-Tenant': 'FLOODGATE_TEST_TENANT' },
      url: `${server.url}/chat?who={{env.FLOODGATE_TEST_TENANT}}`,
    };
    const check = await (await planFrom(configFor(server, changes))).check?.(new AbortController().signal);
    delete process.env.FLOODGATE_TEST_TENANT;
    expect(check?.request).toContain('POST ');
    expect(check?.request).toContain('x-tenant: [masked]');
    expect(check?.request).not.toContain('tenant-of-the-check');
    expect(check?.answer).toMatchObject({ kind: 'text', text: 'you said 32' });
  });
});
