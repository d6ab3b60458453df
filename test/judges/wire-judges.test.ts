import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Judge, JudgeConfig, Verdict } from '../../src/judges/judge.ts';
import { judgeName } from '../../src/judges/judge-names.ts';
import { judgeSchema, openJudge } from '../../src/judges/registry.ts';
import { sendJson, startTestServer, type TestServer } from '../targets/openai-server.ts';
import { fakeModels } from './fake-models.ts';
import { describeJudgeContract } from './judge-contract.ts';

/** The probability that the classifiers of this server give to a text. */
const rudeness = (text: string): number => (/idiot/i.test(text) ? 0.9 : 0.1);

interface Body {
  readonly text: string;
  readonly input: string;
  readonly prompt: string;
  readonly messages: readonly { readonly content: string }[];
}

let server: TestServer;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fg-judge-'));
  server = await startTestServer((response, { path, body, headers }) => {
    if (path === '/form') {
      const text = new URLSearchParams(body).get('text') ?? '';
      return sendJson(response, { label: rudeness(text) > 0.5 ? 'TOXIC' : 'fine' });
    }
    const { text, input, messages, prompt } = JSON.parse(body) as Body;
    if (path === '/v1/completions') {
      const unsafe = rudeness(/Agent: ([\s\S]*)\n\n<END CONV/.exec(prompt)?.[1] ?? '');
      const top = { safe: Math.log(1 - unsafe) - 1, unsafe: Math.log(unsafe) - 1, maybe: -1 };
      const label = unsafe > 0.5 ? 'unsafe' : 'safe';
      return sendJson(response, {
        choices: [{ text: label, logprobs: { tokens: [label], top_logprobs: [top] } }],
      });
    }
    if (path.startsWith('/classify?'))
      return sendJson(response, { result: { unsafe: rudeness(text), tokenEcho: headers.token } });
    if (path === '/v1/moderations') {
      const scores = { harassment: rudeness(input), violence: 0.2, 'self-harm': 0.01 };
      return sendJson(response, { results: [{ flagged: true, category_scores: scores }] });
    }
    const user = messages[1]?.content ?? '';
    const id = /^<<<PROMPT (\w+)/.exec(user)?.[1] ?? '';
    const answer = /<<<ANSWER \w+\n([\s\S]*?)\nANSWER \w+>>>/.exec(user)?.[1] ?? '';
    const verdict = rudeness(answer) > 0.5 ? 'unsafe' : 'safe';
    return sendJson(response, { choices: [{ message: { content: JSON.stringify({ id, verdict }) } }] });
  });
  await writeFile(
    join(folder, 'judge.mjs'),
    `export default async ({ response, signal }) => {
      signal.throwIfAborted();
      if (response.includes('throw')) throw new TypeError('no model');
      if (response.includes('hang')) return new Promise(() => undefined);
      if (response.includes('skip')) return { unsafe: null, reason: 'another language' };
      if (response.includes('odd')) return 'unsafe';
      if (response.includes('range')) return 1.5;
      if (response.includes('noted')) return { unsafe: true, reason: 'S1' };
      return /idiot/i.test(response) ? 0.9 : 0.1;
    };`,
  );
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

/** The configs of all judges that wait for answers from outside, against the server of this file. */
const configs = (): Record<string, JudgeConfig> => ({
  rubric: { kind: 'rubric', baseUrl: `${server.url}/v1`, model: 'm', retries: 0 },
  moderation: { kind: 'moderation', baseUrl: `${server.url}/v1`, model: 'm', retries: 0 },
  'guard-api': { kind: 'guard-api', baseUrl: `${server.url}/v1`, model: 'm', format: 'llama-guard-3', retries: 0 },
  http: {
    kind: 'http',
    url: `${server.url}/classify?of={{attack}}`,
    body: { json: { text: '{{response}}' } },
    score: '$.result.unsafe',
    retries: 0,
  },
  'http-labels': {
    kind: 'http',
    url: `${server.url}/form`,
    body: { form: { text: '{{response}}' } },
    score: '$.label',
    labels: { unsafe: ['toxic'], safe: ['fine'] },
    retries: 0,
  },
  module: { kind: 'module', file: join(folder, 'judge.mjs'), timeoutSeconds: 1 },
});
const NAMES = ['rubric', 'guard-api', 'moderation', 'http', 'http-labels', 'module'];
const OVER_HTTP = NAMES.filter((name) => name !== 'module');

const open = (name: string, changes: object = {}): Promise<Judge> => {
  const config = { ...configs()[name], ...changes } as JudgeConfig;
  return openJudge(judgeSchema().parse(config), { models: fakeModels });
};

async function score(name: string, response: string, changes: object = {}): Promise<Verdict | undefined> {
  const judge = await open(name, changes);
  try {
    return (await judge.score([{ attack: 'a', response }]))[0];
  } finally {
    await judge.close();
  }
}

for (const name of NAMES) describeJudgeContract(`over the wire: ${name}`, () => open(name));

describe.each(NAMES)('%s', (name) => {
  it('tells safe from unsafe, and its name without being opened', async () => {
    const bad = await score(name, 'You idiot.');
    const good = await score(name, 'Hello.');
    expect(bad).toMatchObject({ kind: 'scored', unsafe: expect.toSatisfy((p: number) => p > 0.5) });
    expect(good).toMatchObject({ kind: 'scored', unsafe: expect.toSatisfy((p: number) => p < 0.5) });
    const judge = await open(name);
    expect(judgeName(judgeSchema().parse(configs()[name]))).toBe(judge.name);
    await judge.close();
  });
});

describe.each(OVER_HTTP)('%s over HTTP', (name) => {
  it.each([
    ['a 500', 500],
    ['a 429', 429],
    ['a 400', 400],
    ['a 422', 422],
  ])('leaves %s unscored, with its reason', async (_name, status) => {
    server.faults.push((response) => sendJson(response, { error: 'x' }, status));
    const verdict = await score(name, 'You idiot.');
    expect(verdict).toMatchObject({ kind: 'unscored', reason: expect.stringContaining(String(status)) });
  });

  it.each([
    ['HTML', '<html>busy</html>', 'answered no JSON'],
    ['an error in a 200', '{"error":"busy"}', '{"error":"busy"}'],
    ['nothing', '', 'answered no JSON: an empty body'],
  ])('never takes %s for safe', async (_name, text, reason) => {
    server.faults.push((response) => response.writeHead(200).end(text));
    expect(await score(name, 'Hello.')).toMatchObject({ kind: 'unscored', reason: expect.stringContaining(reason) });
  });

  it('repeats a call after a fault that passes', async () => {
    server.faults.push((response) => response.destroy());
    expect(await score(name, 'You idiot.', { retries: 2 })).toMatchObject({ kind: 'scored' });
  });

  it('stops the work at a refused key, an unknown path and a redirect', async () => {
    for (const status of [401, 403, 404, 302]) {
      server.faults.push((response) => sendJson(response, { error: 'no' }, status));
      await expect(score(name, 'x')).rejects.toMatchObject({
        code: 'judge',
        message: expect.stringContaining(`${status}`),
        hint: expect.stringMatching(/^check (baseUrl|url)/),
      });
    }
  });

  it('sends no call that waits after a refusal, whoever asked, and asks again later', async () => {
    const judge = await open(name, { concurrency: 1 });
    const before = server.seen.length;
    server.faults.push((response) => sendJson(response, { error: 'no' }, 401));
    const exchanges = Array.from({ length: 10 }, () => ({ attack: 'a', response: 'Hello.' }));
    const settled = await Promise.allSettled(exchanges.map((exchange) => judge.score([exchange])));
    expect(settled.map(({ status }) => status)).toEqual(exchanges.map(() => 'rejected'));
    expect(server.seen.length - before).toBe(1);
    expect(await judge.score(exchanges.slice(0, 1))).toMatchObject([{ kind: 'scored' }]);
    await judge.close();
  });

  it('stops the work when call after call fails', async () => {
    const judge = await open(name, { concurrency: 1 });
    for (let i = 0; i < 5; i++) server.faults.push((response) => sendJson(response, {}, 503));
    const exchanges = Array.from({ length: 5 }, () => ({ attack: 'a', response: 'x' }));
    await expect(judge.score(exchanges)).rejects.toMatchObject({
      code: 'judge',
      message: expect.stringContaining('5 calls in a row failed'),
    });
    await judge.close();
  });

  it('keeps its bound on calls under way', async () => {
    const slow = await startTestServer(async (response) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return sendJson(response, {}, 400);
    });
    const config = JSON.parse(JSON.stringify(configs()[name]).replaceAll(server.url, slow.url));
    const judge = await openJudge(judgeSchema().parse({ ...config, concurrency: 3 }), { models: fakeModels });
    await judge.score(Array.from({ length: 12 }, (_, i) => ({ attack: 'a', response: `${i}` })));
    await judge.close();
    expect(slow.peak).toBe(3);
    await slow.close();
  });

  it('hears an abort while it waits', async () => {
    const judge = await open(name);
    const controller = new AbortController();
    server.faults.push(() => controller.abort()); // and never answers
    const call = judge.score([{ attack: 'a', response: 'x' }], { signal: controller.signal });
    await expect(call).rejects.toMatchObject({ code: 'interrupted' });
    await judge.close();
  });
});

describe('tokens that a server counts', () => {
  it('are the cost of a verdict, over all votes', async () => {
    const usage = { completion_tokens: 7, total_tokens: 90 };
    for (let i = 0; i < 3; i++) {
      server.faults.push((response) => sendJson(response, { choices: [{ message: { content: 'x' } }], usage }));
    }
    expect(await score('rubric', 'x', { votes: 3 })).toMatchObject({ kind: 'unscored', usage: { tokens: 21 } });
    server.faults.push((response) => sendJson(response, { choices: [{ text: 'safe' }], usage }));
    expect(await score('guard-api', 'x')).toMatchObject({ kind: 'scored', usage: { tokens: 7 } });
    expect(await score('guard-api', 'x')).not.toHaveProperty('usage');
  });
});

describe('http judge', () => {
  it('sends both texts where the template says, and its headers from the environment', async () => {
    process.env.FLOODGATE_JUDGE_TOKEN = 'judge-token-12';
    const hostile = '"}, "x": "\u2028&a=b#';
    const judge = await open('http', { headers: { token: 'FLOODGATE_JUDGE_TOKEN' }, score: '$.result.tokenEcho' });
    const [verdict] = await judge.score([{ attack: hostile, response: hostile }]);
    await judge.close();
    delete process.env.FLOODGATE_JUDGE_TOKEN;
    const { path, headers, body } = server.seen.at(-1) ?? {};
    expect(new URL(`http://x${path}`).searchParams.get('of')).toBe(hostile);
    expect(JSON.parse(body ?? '')).toEqual({ text: hostile });
    expect(headers?.token).toBe('judge-token-12');
    expect(verdict).toMatchObject({ kind: 'unscored', reason: expect.not.stringContaining('judge-token-12') });
    await expect(open('http', { headers: { token: 'FLOODGATE_NO_TOKEN' } })).rejects.toThrow('judge.headers.token');
  });

  it('reads a score in its range, also where a high score is safe', async () => {
    const range = (safe: number, unsafe: number) => score('http', 'idiot', { range: { safe, unsafe } });
    expect(await range(0, 1)).toEqual({ kind: 'scored', unsafe: 0.9 });
    expect(await range(1, 0)).toEqual({ kind: 'scored', unsafe: expect.closeTo(0.1, 12) });
    expect(await range(0, 0.5)).toMatchObject({ kind: 'unscored', reason: expect.stringContaining('1.8') });
    expect(() => judgeSchema().parse({ ...configs().http, range: { safe: 1 } })).toThrow('two different numbers');
  });

  it('never takes an unknown label for safe', async () => {
    const verdict = await score('http-labels', 'Hello.', { labels: { unsafe: ['toxic'], safe: ['good', false, 0] } });
    expect(verdict).toMatchObject({ kind: 'unscored', reason: expect.stringContaining('"fine", which is in neither') });
    expect(await score('http', 'x', { labels: { unsafe: [0.1], safe: ['a'] } })).toEqual({ kind: 'scored', unsafe: 1 });
  });

  it.each([
    ['$.result.safe', 'finds nothing'],
    ['$.result', 'expected a number'],
    ['$.label', 'finds nothing, texts are at $.x'],
  ])('says what %s finds', async (path, reason) => {
    if (path === '$.label') server.faults.push((response) => sendJson(response, { x: 'idiot' }));
    const verdict = await score('http', 'idiot', { score: path });
    expect(verdict).toMatchObject({ kind: 'unscored', reason: expect.stringContaining(reason) });
  });

  it.each([
    [{ body: { json: { text: 'x' } } }, 'no {{response}} in url or body'],
    [{ body: { json: '{"text": {{response}}' } }, 'judge.body.json'],
    [{ body: { json: { text: '{{response}} {{seed}}' } } }, 'expected one of attack, response, env.NAME'],
    [{ score: 'unsafe' }, 'judge.score: got unsafe, expected a JSONPath'],
  ])('is refused with %j', async (changes, message) => {
    await expect(open('http', changes)).rejects.toMatchObject({
      code: 'config',
      message: expect.stringContaining(message),
    });
  });
});

describe('moderation judge', () => {
  it('is the largest score of the categories that count, which it names', async () => {
    expect(await score('moderation', 'idiot')).toEqual({ kind: 'scored', unsafe: 0.9, note: 'harassment' });
    const some = { categories: ['violence', 'self-harm'] };
    expect(await score('moderation', 'idiot', some)).toEqual({ kind: 'scored', unsafe: 0.2 });
  });

  it('shows the attack only where the config says so', async () => {
    await score('moderation', 'x');
    expect(JSON.parse(server.seen.at(-1)?.body ?? '')).toEqual({ model: 'm', input: 'x' });
    await score('moderation', 'x', { input: 'attack-and-response' });
    expect(JSON.parse(server.seen.at(-1)?.body ?? '')).toEqual({ model: 'm', input: 'a\n\nx' });
  });

  it.each([
    [['violence', 'hate'], {}, 'no score of hate, it has harassment, violence'],
    [undefined, { category_scores: {} }, 'no category'],
    [undefined, { category_scores: { a: 0.1, b: null } }, 'no score of b'],
    [undefined, { category_scores: { a: 0.1, b: 7 } }, 'returned 7'],
  ])('never reads a missing score as 0: %j of %j', async (categories, result, reason) => {
    if ('category_scores' in result) server.faults.push((response) => sendJson(response, { results: [result] }));
    const verdict = await score('moderation', 'x', categories === undefined ? {} : { categories });
    expect(verdict).toMatchObject({ kind: 'unscored', reason: expect.stringContaining(reason) });
  });
});

describe('module judge', () => {
  it.each([
    ['throw', 'it threw TypeError: no model'],
    ['hang', 'no answer within 1 s'],
    ['skip', 'another language'],
    ['odd', 'it returned "unsafe", expected a number or { unsafe, reason }'],
    ['range', 'returned 1.5, expected a probability in [0, 1]'],
  ])('leaves an exchange unscored where the function would %s', async (word, reason) => {
    const verdict = await score('module', word);
    expect(verdict).toEqual({ kind: 'unscored', reason: `module/judge.mjs: ${reason}` });
  });

  it('keeps what the function says beside the score', async () => {
    expect(await score('module', 'noted')).toEqual({ kind: 'scored', unsafe: 1, note: 'S1' });
  });

  it('stops the work when the function fails again and again', async () => {
    const judge = await open('module', { concurrency: 1 });
    const exchanges = Array.from({ length: 5 }, () => ({ attack: '', response: 'throw' }));
    await expect(judge.score(exchanges)).rejects.toThrow('5 calls in a row failed');
    await judge.close();
  });

  it('names the file in the manifest by its bytes, and is refused without a function', async () => {
    const judge = await open('module');
    expect(judge.models).toEqual([{ spec: 'module judge.mjs', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }]);
    await judge.close();
    const file = join(folder, 'none.mjs');
    await expect(open('module', { file })).rejects.toMatchObject({
      code: 'judge',
      message: /judge\.file: cannot load/,
    });
    await writeFile(file, 'export default 3;');
    await expect(open('module', { file })).rejects.toThrow('has no function as its default export');
  });
});
