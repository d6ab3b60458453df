import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { testTarget } from '../../src/stages/campaign/open-parts.ts';
import { mapTargetPaths, targetKinds } from '../../src/targets/registry.ts';
import type { TargetConfig } from '../../src/targets/target-kind.ts';
import { anthropicReply } from './anthropic-reply.ts';
import { openAiAnswers, sendJson, startTestServer, type TestServer } from './openai-server.ts';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/targets.md'), 'utf8');

/** The targets of the page, by kind. */
const documented = new Map(
  [...page.matchAll(/```yaml\n(target:[\s\S]*?)```/g)].map(([, yaml]) => {
    const { target } = parse(yaml as string) as { target: TargetConfig };
    return [target.kind, target];
  }),
);

const VARIABLES = { MY_API_KEY: 'key-of-the-page', MY_APP_TOKEN: 'Bearer token-of-the-page' };

describe('the targets of docs/targets.md', () => {
  const servers: TestServer[] = [];
  let openAi: TestServer;
  let app: TestServer;
  beforeAll(async () => {
    Object.assign(process.env, VARIABLES);
    openAi = await startTestServer(openAiAnswers({ key: VARIABLES.MY_API_KEY, models: ['my-model'] }));
    app = await startTestServer((response, { path, headers, body }) => {
      if (path !== '/chat' || headers.authorization !== VARIABLES.MY_APP_TOKEN) return sendJson(response, {}, 404);
      const { message, conversation, options } = JSON.parse(body);
      const isRight = typeof message === 'string' && conversation !== '' && options.limit === 32;
      return sendJson(response, isRight ? { reply: { text: 'Hello.', tokens: 3 } } : { error: 'wrong' });
    });
    servers.push(openAi, app);
  });
  afterAll(async () => {
    for (const server of servers) await server.close();
    for (const name of Object.keys(VARIABLES)) delete process.env[name];
  });

  /** The config as it is on the page, but for the host, and with paths that count from the root. */
  const here = (kind: string, changes: object = {}): TargetConfig => {
    const target = { ...documented.get(kind), ...changes } as TargetConfig;
    return mapTargetPaths(target, (value) =>
      Array.isArray(value)
        ? value.map((item) => String(item).replace(/^\.\//, `${root}/`))
        : String(value).replace(/^\.\//, `${root}/`),
    );
  };

  it('show every kind that contacts something', () => {
    const own = ['local', 'scripted'];
    const others = targetKinds.names().filter((name) => !own.includes(name) && page.includes(`| \`${name}\` |`));
    expect(others).toEqual(['openai', 'http', 'ai-sdk', 'module', 'command']);
    expect([...documented.keys()]).toEqual(others);
  });

  it('work as they are written: openai', async () => {
    const { answer, abilities } = await testTarget(here('openai', { baseUrl: `${openAi.url}/v1` }));
    expect(answer).toMatchObject({ kind: 'text', usage: { calls: 1, tokens: 3 } });
    expect(Object.values(abilities).every(({ works }) => works)).toBe(true);
    expect(JSON.parse(openAi.seen[0]?.body ?? '')).toMatchObject({ repetition_penalty: 1.1, max_tokens: 64 });
  });

  it('work as they are written: http', async () => {
    const { answer } = await testTarget(here('http', { url: `${app.url}/chat` }));
    expect(answer).toMatchObject({ kind: 'text', text: 'Hello.', usage: { calls: 1, tokens: 3 } });
  });

  it('work as they are written: ai-sdk', async () => {
    const provider = await startTestServer((response, { headers }) =>
      headers['x-api-key'] === VARIABLES.MY_API_KEY
        ? sendJson(response, anthropicReply('Hello.'))
        : sendJson(response, {}, 401),
    );
    servers.push(provider);
    const { answer, request } = await testTarget(here('ai-sdk', { baseUrl: `${provider.url}/v1` }));
    expect(answer).toMatchObject({ kind: 'text', text: 'Hello.' });
    expect(request).toContain('You are the assistant of a shop.');
  });

  it.each(['module', 'command'])('work as they are written: %s', async (kind) => {
    const { answer } = await testTarget(here(kind));
    expect(answer).toMatchObject({ kind: 'text', text: 'You wrote 32 characters.', usage: { tokens: 5 } });
  });
});

describe('the recipes of docs/targets.md', () => {
  /** The recipes of the page by heading, each behind its comment. */
  const recipes = new Map(
    [...page.matchAll(/### (.+)\n\n```yaml\n(#.*\ntarget:[\s\S]*?)```/g)].map(([, name, yaml]) => [
      name as string,
      (parse(yaml as string) as { target: TargetConfig & Record<string, unknown> }).target,
    ]),
  );
  const servers: TestServer[] = [];
  const set = {
    MY_PASSWORD: 'password-of-a-recipe',
    MY_TEAM: 'red-team',
    MY_API_KEY: 'key-of-a-recipe',
    ANTHROPIC_API_KEY: 'sdk-key-of-a-recipe',
  };
  beforeAll(() => Object.assign(process.env, set));
  afterAll(async () => {
    for (const server of servers) await server.close();
    for (const name of Object.keys(set)) delete process.env[name];
  });
  const start = async (answer: Parameters<typeof startTestServer>[0]): Promise<TestServer> => {
    const server = await startTestServer(answer);
    servers.push(server);
    return server;
  };
  /** The recipe with every address at our own server. */
  const at = (name: string, { url }: TestServer): TargetConfig => {
    const { caFile: _company, ...rest } = recipes.get(name) as TargetConfig & { caFile?: string };
    return JSON.parse(JSON.stringify(rest).replaceAll(/https?:\/\/[a-z0-9.:]+\//g, `${url}/`)) as TargetConfig;
  };

  it('are the six that users ask for', () => {
    expect([...recipes.keys()]).toEqual([
      'vLLM',
      'Ollama',
      'llama.cpp',
      'A company gateway with a header',
      'An app with login and session',
      'Anthropic through the SDK',
    ]);
  });

  it.each(['vLLM', 'Ollama', 'llama.cpp', 'A company gateway with a header'])('work as written: %s', async (name) => {
    const { model, apiKeyEnv } = recipes.get(name) as unknown as { model: string; apiKeyEnv?: string };
    const key = apiKeyEnv === undefined ? {} : { key: set.MY_API_KEY };
    const server = await start(openAiAnswers({ models: [model], ...key }));
    expect((await testTarget(at(name, server))).answer).toMatchObject({ kind: 'text' });
    if (apiKeyEnv !== undefined) expect(server.seen.at(-1)?.headers['x-team']).toBe('red-team');
  });

  it('work as written: An app with login and session', async () => {
    const server = await start((response, { path, headers, body }) => {
      if (path === '/login')
        return sendJson(response, { token: JSON.parse(body).password === set.MY_PASSWORD ? 'token-of-a-recipe' : '' });
      if (headers.authorization !== 'Bearer token-of-a-recipe') return sendJson(response, {}, 401);
      if (path === '/conversations') return sendJson(response, { id: 12 });
      return sendJson(response, path === '/conversations/12/messages' ? { reply: 'Hello.' } : {}, 200);
    });
    expect((await testTarget(at('An app with login and session', server))).answer).toMatchObject({ text: 'Hello.' });
  });

  it('work as written: Anthropic through the SDK', async () => {
    const server = await start((response, { headers }) =>
      sendJson(response, anthropicReply('Hello.'), headers['x-api-key'] === set.ANTHROPIC_API_KEY ? 200 : 401),
    );
    const config = { ...at('Anthropic through the SDK', server), baseUrl: `${server.url}/v1` };
    expect((await testTarget(config)).answer).toMatchObject({ text: 'Hello.' });
  });
});
