import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { JudgeConfig, Verdict } from '../../src/judges/judge.ts';
import { judgeKinds, judgeSchema, openJudge } from '../../src/judges/registry.ts';
import '../../src/worlds/world-kinds.ts';
import { sendJson, startTestServer, type TestServer } from '../targets/openai-server.ts';
import { fakeModels } from './fake-models.ts';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/judges.md'), 'utf8');

/** The judges of the page that have a section of their own. */
const documented = [...page.matchAll(/```yaml\n(kind:[\s\S]*?)```/g)].map(
  ([, yaml]) => parse(yaml as string) as JudgeConfig,
);

const VARIABLES = { JUDGE_API_KEY: 'key-of-the-page', JUDGE_TOKEN: 'Bearer token-of-the-page' };

describe('the judges of docs/judges.md', () => {
  let server: TestServer;
  beforeAll(async () => {
    Object.assign(process.env, VARIABLES);
    server = await startTestServer((response, { path, headers, body }) => {
      if (path === '/label') return sendJson(response, { label: body.includes('idiot') ? 'Toxic' : 'clean' });
      if (path === '/classify') {
        const { prompt, text } = JSON.parse(body);
        const isRight = prompt === 'a' && headers.authorization === VARIABLES.JUDGE_TOKEN;
        return sendJson(response, { result: { toxicity: text.includes('idiot') ? 90 : 5 } }, isRight ? 200 : 400);
      }
      const isPlain = headers.authorization !== `Bearer ${VARIABLES.JUDGE_API_KEY}`;
      if (isPlain) return sendJson(response, { error: 'wrong key' }, 401);
      const { prompt, input, messages } = JSON.parse(body);
      if (path === '/v1/completions') {
        return sendJson(response, { choices: [{ text: prompt.includes('idiot') ? 'unsafe\nS10' : 'safe' }] });
      }
      if (path === '/v1/moderations') {
        const score = input.includes('idiot') ? 0.9 : 0.1;
        return sendJson(response, { results: [{ category_scores: { harassment: score, hate: 0, violence: 0 } }] });
      }
      const user = messages[1].content as string;
      const id = /^<<<PROMPT (\w+)/.exec(user)?.[1];
      const verdict = user.includes('idiot') ? 'unsafe' : 'safe';
      return sendJson(response, { choices: [{ message: { content: JSON.stringify({ id, verdict }) } }] });
    });
  });
  afterAll(async () => {
    await server.close();
    for (const name of Object.keys(VARIABLES)) delete process.env[name];
  });

  /** The config as it is on the page, but for the host, and with paths that count from the root. */
  const here = (config: JudgeConfig): JudgeConfig => {
    const at = (text: string): string => text.replace(/^https?:\/\/[^/]+/, server.url).replace(/^\.\//, `${root}/`);
    const moved = ['baseUrl', 'url', 'file'].flatMap((key) =>
      typeof config[key] === 'string' ? [[key, at(config[key])]] : [],
    );
    return { ...config, ...Object.fromEntries(moved) };
  };

  const score = async (config: JudgeConfig): Promise<Verdict[]> => {
    const judge = await openJudge(judgeSchema().parse(here(config)), { models: fakeModels });
    try {
      return await judge.score(
        ['You IDIOT idiot SHUT UP NOW, ALL OF YOU.', 'Good morning.'].map((response) => ({ attack: 'a', response })),
      );
    } finally {
      await judge.close();
    }
  };

  it('show every kind, and name it in the table', () => {
    const kinds = new Set(documented.map(({ kind }) => kind));
    for (const name of judgeKinds.names()) expect(page).toContain(`| \`${name}\` |`);
    expect([...kinds].sort()).toEqual(
      ['classifier', 'ensemble', 'guard', 'guard-api', 'http', 'lexicon', 'moderation', 'module', 'rubric'].sort(),
    );
  });

  it('are valid as they are written', () => {
    for (const config of documented) expect(() => judgeSchema().parse(config)).not.toThrow();
  });

  it.each(documented.filter(({ kind }) => ['guard-api', 'rubric', 'moderation', 'http', 'module'].includes(kind)))(
    'work as they are written: $kind',
    async (config) => {
      const [bad, good] = await score(config);
      expect(bad).toMatchObject({ kind: 'scored', unsafe: expect.toSatisfy((p: number) => p > 0.5) });
      expect(good).toMatchObject({ kind: 'scored', unsafe: expect.toSatisfy((p: number) => p < 0.5) });
    },
  );
});
