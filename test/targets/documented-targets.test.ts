import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { testTarget } from '../../src/stages/campaign/open-parts.ts';
import { mapTargetPaths, targetKinds } from '../../src/targets/registry.ts';
import type { TargetConfig } from '../../src/targets/target-kind.ts';
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
    expect(others).toEqual(['openai', 'http', 'module', 'command']);
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

  it.each(['module', 'command'])('work as they are written: %s', async (kind) => {
    const { answer } = await testTarget(here(kind));
    expect(answer).toMatchObject({ kind: 'text', text: 'You wrote 32 characters.', usage: { tokens: 5 } });
  });
});
