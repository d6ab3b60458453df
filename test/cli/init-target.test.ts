import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/stages/campaign/config-load.ts';
import { testTarget } from '../../src/stages/campaign/open-parts.ts';
import { plannedCalls } from '../../src/stages/campaign/plan-run.ts';
import {
  openAiAnswers,
  type SeenRequest,
  sendJson,
  startTestServer,
  type TestServer,
} from '../targets/openai-server.ts';
import { cli } from './cli-runner.ts';

const KEY = 'fg-init-key-91c3';
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-init-'));
  process.env.FLOODGATE_TEST_INIT_KEY = KEY;
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  delete process.env.FLOODGATE_TEST_INIT_KEY;
});

const servers: TestServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function start(answer: (response: ServerResponse, seen: SeenRequest) => unknown): Promise<TestServer> {
  const server = await startTestServer(answer);
  servers.push(server);
  return server;
}

/** An app with one method of the usual kind: Express answers 404 with HTML to everything else. */
function app(path: string, handle: (response: ServerResponse, body: Record<string, unknown>) => unknown) {
  return (response: ServerResponse, seen: SeenRequest): unknown => {
    if (seen.method !== 'POST' || seen.path !== path)
      return response
        .writeHead(404, { 'content-type': 'text/html' })
        .end(`<pre>Cannot ${seen.method} ${seen.path}</pre>`);
    return handle(response, JSON.parse(seen.body) as Record<string, unknown>);
  };
}

let files = 0;
async function init(url: string, ...flags: string[]) {
  const file = join(folder, `found-${files++}.yaml`);
  const outcome = await cli(['init', file, '--target', url, ...flags, '--cache-dir', join(folder, 'cache')]);
  return { ...outcome, file };
}

/** The target of a written config, once somebody has filled in the authorisation. */
async function targetOf(file: string) {
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace('authorisation: ""', 'authorisation: a server of this test'));
  const config = await loadConfig(file, []);
  return { text, config, target: config.target as unknown as Record<string, unknown> };
}

describe('floodgate init --target', () => {
  it('finds an OpenAI-compatible server, its model, and that it wants a key', async () => {
    const models = ['text-embedding-small', 'chat-model', 'other-model'];
    const server = await start(openAiAnswers({ key: KEY, models }));
    const without = await init(server.url);
    expect([without.code, without.stderr]).toEqual([1, expect.stringMatching(/answered 401[\s\S]*--api-key-env/)]);
    const { code, stdout, stderr, file } = await init(server.url, '--api-key-env', 'FLOODGATE_TEST_INIT_KEY');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('an OpenAI-compatible server with the model chat-model; it has 3: --model names another');
    expect(stdout).toContain('authorization: [masked]');
    const { target, text } = await targetOf(file);
    expect(target).toMatchObject({
      kind: 'openai',
      baseUrl: `${server.url}/v1`,
      model: 'chat-model',
      apiKeyEnv: 'FLOODGATE_TEST_INIT_KEY',
      responses: 1,
    });
    expect(text + stdout).not.toContain(KEY);
    const named = await init(
      `${server.url}/v1/chat/completions`,
      '--api-key-env',
      'FLOODGATE_TEST_INIT_KEY',
      '--model',
      'other-model',
    );
    expect((await targetOf(named.file)).target).toMatchObject({ baseUrl: `${server.url}/v1`, model: 'other-model' });
  });

  it('leaves out the keys that a server refuses', async () => {
    const answers = openAiAnswers();
    const server = await start((response, seen) => {
      const body = seen.body === '' ? {} : (JSON.parse(seen.body) as object);
      if ('seed' in body || 'max_tokens' in body) return sendJson(response, { error: { message: 'unknown key' } }, 400);
      return answers(response, seen);
    });
    const { target } = await targetOf((await init(`${server.url}/v1`)).file);
    expect(target).toMatchObject({ kind: 'openai', sendSeed: false, tokenLimit: 'max_completion_tokens' });
  });

  it('writes a config that is refused until somebody fills in who authorised it, and keeps to 2,000 calls', async () => {
    const server = await start(openAiAnswers());
    const { file } = await init(server.url);
    const refused = await cli(['run', file, '--dry-run']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/authorisation: got "", expected one line that says who authorised/);
    const { config } = await targetOf(file);
    const calls = plannedCalls(config, 12);
    expect(calls).toBeLessThanOrEqual(2000);
    expect(calls).toBeGreaterThan(1900);
    expect(config.judges.evaluation.map(({ kind }) => kind)).toEqual(['tox-block', 'profanity']);
  });

  const say = (text: unknown): string => `You said ${String(text).length} characters.`;
  const APPS: [string, Parameters<typeof start>[0], string, object][] = [
    [
      'a message and a reply',
      app('/chat', (response, { message }) =>
        typeof message === 'string'
          ? sendJson(response, { id: 'm-17', reply: say(message), model: 'tiny chat' })
          : sendJson(response, { error: 'message is required' }, 400),
      ),
      '/chat',
      { body: { json: { message: '{{attack}}' } }, answer: '$.reply' },
    ],
    [
      'fields that its errors name, as FastAPI does',
      app('/ask', (response, body) => {
        const missing = ['user_question', 'session_id'].filter((name) => typeof body[name] !== 'string');
        const detail = missing.map((name) => ({ type: 'missing', loc: ['body', name], msg: 'Field required' }));
        if (missing.length > 0) return sendJson(response, { detail }, 422);
        return sendJson(response, { data: { answer: say(body.user_question), usage: { completion_tokens: 4 } } });
      }),
      '/ask',
      {
        body: { json: { user_question: '{{attack}}', session_id: '{{id}}' } },
        answer: '$.data.answer',
        tokens: '$.data.usage.completion_tokens',
      },
    ],
    [
      'an answer to every request, whatever is in it',
      app('/bot', (response, { prompt }) =>
        sendJson(response, { text: prompt === undefined ? 'Please say something.' : say(prompt) }),
      ),
      '/bot',
      { body: { json: { prompt: '{{attack}}' } }, answer: '$.text' },
    ],
    [
      'messages, at a path that nobody named',
      app('/api/chat', (response, { messages }) => {
        const last = Array.isArray(messages) ? (messages.at(-1) as { content?: unknown }).content : undefined;
        if (last === undefined) return sendJson(response, { message: 'body must hold messages' }, 400);
        return sendJson(response, { message: { role: 'assistant', content: say(last) } });
      }),
      '',
      { body: { json: { messages: [{ role: 'user', content: '{{attack}}' }] } }, answer: '$.message.content' },
    ],
    [
      'server-sent events',
      app('/stream', (response, { message }) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        for (const delta of message === undefined ? [] : ['You ', 'said ', 'it.'])
          response.write(`data: ${JSON.stringify({ type: 'text-delta', delta })}\n\n`);
        response.end('data: [DONE]\n\n');
      }),
      '/stream',
      { body: { json: { message: '{{attack}}' } }, sse: '$.delta' },
    ],
    [
      'plain text',
      app('/plain', (response, { input }) =>
        input === undefined ? response.writeHead(500).end('oops') : response.end(say(input)),
      ),
      '/plain',
      { body: { json: { input: '{{attack}}' } } },
    ],
    [
      'a query',
      (response, { method, path }) => {
        const q = new URL(path, 'http://h').searchParams.get('q');
        if (method !== 'GET' || q === null) return response.writeHead(404).end();
        return sendJson(response, { result: say(q) });
      },
      '/search',
      { method: 'GET', url: expect.stringMatching(/\/search\?q=\{\{attack\}\}$/) as string, answer: '$.result' },
    ],
  ];

  it.each(APPS)('finds an app with %s, and the config works', async (_name, answer, path, expected) => {
    const server = await start(answer);
    const { code, stdout, stderr, file } = await init(`${server.url}${path}`);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('Nothing else was contacted.');
    const { target } = await targetOf(file);
    expect(target).toMatchObject({ kind: 'http', ...expected });
    expect((await testTarget(target)).answer).toMatchObject({ kind: 'text', text: expect.stringMatching(/^You said/) });
  });

  it('sends a key to an app as a bearer token, by name', async () => {
    const server = await start((response, seen) => {
      if (seen.headers.authorization !== `Bearer ${KEY}`) return sendJson(response, { error: 'who are you?' }, 401);
      if (seen.method !== 'POST') return response.writeHead(404).end();
      const { message } = JSON.parse(seen.body) as { message?: string };
      return message === undefined ? sendJson(response, {}, 400) : sendJson(response, { reply: say(message) });
    });
    const { code, file } = await init(`${server.url}/chat`, '--api-key-env', 'FLOODGATE_TEST_INIT_KEY');
    expect(code).toBe(0);
    const { target } = await targetOf(file);
    expect(target.headers).toEqual({ Authorization: 'Bearer {{env.FLOODGATE_TEST_INIT_KEY}}' });
    expect((await testTarget(target)).answer).toMatchObject({ kind: 'text' });
  });

  it('finds the app of docs/quick-start.md, from its host alone', async () => {
    const child = spawn(process.execPath, ['examples/app/server.mjs'], { env: { ...process.env, PORT: '0' } });
    try {
      const url = await new Promise<string>((resolve) => {
        child.stdout.on('data', (data: Buffer) => resolve(/http:\S+/.exec(String(data))?.[0] ?? ''));
      });
      const { stdout, file } = await init(url);
      expect(stdout).toContain(`Found an app that answers POST ${url}/chat, after 6 harmless requests.`);
      const { target } = await targetOf(file);
      expect(target).toMatchObject({ body: { json: { message: '{{attack}}' } }, answer: '$.reply' });
    } finally {
      child.kill();
    }
  });

  it('writes nothing where it finds nothing, and tells what the app said', async () => {
    const server = await start((response) => sendJson(response, { problem: 'the field "utterance" is missing' }, 400));
    const { code, stderr, file } = await init(`${server.url}/odd`);
    expect(code).toBe(1);
    expect(stderr).toMatch(/--target: got .*\/odd: \d+ usual requests brought no answer; .*utterance/);
    expect(stderr).toMatch(/hint: .*docs\/targets.md/);
    expect(() => readFileSync(file)).toThrow('ENOENT');
    expect((await init('ftp://h/x')).stderr).toMatch(/--target: got ftp:\/\/h\/x, it must be an http or https address/);
    expect((await init('http://127.0.0.1:1/chat')).stderr).toMatch(/hint: start the server, .*--target/);
  });
});
