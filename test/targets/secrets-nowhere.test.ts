import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CliOutcome, cli } from '../cli/cli-runner.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { type SeenRequest, sendJson, startTestServer, type TestServer } from './openai-server.ts';

/** Texts like no other: whatever holds one, has leaked it. */
const KEYS = {
  FLOODGATE_TEST_APP_PASSWORD: 'fg-app-password-0c51',
  FLOODGATE_TEST_JUDGE_KEY: 'fg-judge-key-77b0',
};

/** Every value that the app handed out. */
const handedOut: string[] = [];
const handOut = (kind: string): string => {
  const value = `fg/${kind}+${randomUUID()}`;
  handedOut.push(value);
  return value;
};

/** A careless app: it has a login, a ticket for each message, and repeats everything that it was sent. */
function answerApp(response: ServerResponse, { path, headers, body }: SeenRequest): unknown {
  const { password, message = '', ticket } = (body === '' ? {} : JSON.parse(body)) as Record<string, string>;
  if (path === '/login') {
    if (password !== KEYS.FLOODGATE_TEST_APP_PASSWORD)
      return sendJson(response, { error: `wrong password ${password}` }, 401);
    response.setHeader('set-cookie', `sid=${handOut('run-cookie')}; HttpOnly`);
    return sendJson(response, { token: handOut('run-token') });
  }
  if (path === '/plain-login') return response.end(handOut('plain-token'));
  if (path === '/tickets') {
    response.setHeader('set-cookie', `visit=${handOut('call-cookie')}; HttpOnly`);
    return sendJson(response, { ticket: handOut('call-ticket'), room: handOut('call-room') });
  }
  const all = [headers.authorization, headers.cookie, ticket, path, decodeURIComponent(path)].join(' ');
  if (message.length % 5 === 0 || path.endsWith('/t'))
    return sendJson(response, { error: `cannot read that: ${all}` }, 422);
  const word = message.includes('z') ? 'alarm bell' : 'fine thanks';
  return sendJson(response, { reply: `${word} ${JSON.stringify(all)}` });
}

function answerJudge(response: ServerResponse, { headers, body }: SeenRequest): unknown {
  const isOdd = body.length % 3 === 0;
  return sendJson(response, isOdd ? { error: `no score for ${headers['x-judge-key']}: ${body}` } : { score: 0.2 });
}

const targetOf = ({ url }: TestServer) => ({
  kind: 'http',
  url: `${url}/rooms/{{room}}/messages`,
  headers: { Authorization: 'Bearer {{token}}' },
  body: { json: { message: '{{attack}}', ticket: '{{ticket}}' } },
  before: [
    {
      url: `${url}/login`,
      body: { json: { password: '{{env.FLOODGATE_TEST_APP_PASSWORD}}' } },
      take: { token: '$.token' },
    },
    {
      url: `${url}/tickets`,
      headers: { Authorization: 'Bearer {{token}}' },
      take: { ticket: '$.ticket', room: '$.room' },
      every: 'call',
    },
  ],
  answer: '$.reply',
  responses: 2,
  retries: 1,
  checkAnswers: false,
});
const judgeOf = ({ url }: TestServer) => ({
  kind: 'http',
  name: 'elsewhere',
  url: `${url}/classify`,
  headers: { 'X-Judge-Key': 'FLOODGATE_TEST_JUDGE_KEY' },
  body: { json: { attack: '{{attack}}', text: '{{response}}' } },
  score: '$.score',
  retries: 0,
});
const SHORT = [
  ...['attackers=[gflownet,smoothing]', 'sft.updates=2', 'sft.warmupUpdates=1', 'gflownet.updates=4'],
  ...['gflownet.warmupUpdates=1', 'collect.minUnsafe=0', 'smoothing.updates=2', 'smoothing.warmupUpdates=1'],
  ...['watch.everyUpdates=0', 'evaluation.attacks=12', 'evaluation.controls=2'],
].flatMap((pair) => ['--set', pair]);

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

/** The secrets in a text or file, by the beginning of each. */
function leaksIn(content: string): string[] {
  const forms = [...Object.values(KEYS), ...handedOut].flatMap((value) => [value, encodeURIComponent(value)]);
  return [...new Set(forms.filter((form) => content.includes(form)).map((form) => form.slice(0, 16)))];
}

describe('keys, tokens, tickets and cookies', () => {
  let tiny: TinyCampaign;
  let servers: TestServer[];
  const outcomes = new Map<string, CliOutcome>();
  const say = async (name: string, ...args: string[]): Promise<void> => {
    const place =
      args[0] === 'target' ? [] : ['--runs-dir', tiny.runsFolder, '--cache-dir', join(tiny.folder, 'cache')];
    outcomes.set(name, await cli([...args, ...place]));
  };

  beforeAll(async () => {
    Object.assign(process.env, KEYS);
    tiny = await createTinyCampaign();
    servers = [await startTestServer(answerApp), await startTestServer(answerJudge)];
    const [app, judge] = servers as [TestServer, TestServer];
    const file = join(tiny.folder, 'secrets.yaml');
    const withTarget = (target: object): string =>
      tiny.configText
        .replace(/target:\n( .*\n)+/, `target: ${JSON.stringify(target)}\n`)
        .replace(
          /evaluation: \[(.*)\]\n/,
          (_, first: string) => `evaluation: [${first}, ${JSON.stringify(judgeOf(judge))}]\n`,
        );
    const target = targetOf(app);
    writeFileSync(file, withTarget(target));
    const run = join(tiny.runsFolder, 'secret');
    await say('target test', 'target', 'test', file);
    await say('dry run', 'run', file, '--dry-run', ...SHORT);
    await say('run', 'run', file, '--name', 'secret', ...SHORT);
    await say('show', 'show', run);
    await say('show attacks', 'show', run, '--attacks', '50');
    await say('show json', 'show', run, '--json');
    await say('report', 'report', run);
    await say('resume', 'resume', run);
    // Errors of every kind: a ticket that is no text, an answer that is not found, a refused password.
    const [login, ticket] = target.before;
    const changed: [string, object][] = [
      ['no text', { ...target, before: [login, { ...ticket, take: { ticket: '$', room: '$.room' } }] }],
      ['no answer', { ...target, answer: '$.text' }],
      ['no JSON', { ...target, before: [{ ...login, url: `${app.url}/plain-login` }, ticket] }],
      ['no path', { ...target, url: `${target.url}/{{token}}/t`, body: { json: { message: '{{attack}}' } } }],
    ];
    for (const [name, each] of changed) {
      writeFileSync(file, withTarget(each));
      await say(name, 'target', 'test', file, '--debug');
      await say(`${name}, run`, 'run', file, '--name', 'broken', ...SHORT);
    }
    process.env.FLOODGATE_TEST_APP_PASSWORD = handOut('wrong-password');
    writeFileSync(file, withTarget(target));
    await say('wrong password', 'run', file, '--name', 'locked', '--debug', ...SHORT);
  });
  afterAll(async () => {
    for (const server of servers) await server.close();
    await tiny.remove();
    for (const name of Object.keys(KEYS)) delete process.env[name];
  });

  it('were all handed out, and sent back by app and judge', () => {
    expect(outcomes.get('run')?.code, outcomes.get('run')?.stderr).toBe(0);
    expect(handedOut.length).toBeGreaterThan(200);
    const failed = [...outcomes].filter(([, { code }]) => code !== 0).map(([name]) => name);
    const changes = ['no text', 'no answer', 'no JSON', 'no path'].flatMap((name) => [name, `${name}, run`]);
    expect(failed).toEqual([...changes, 'wrong password']);
    expect(outcomes.get('no text')?.stderr).toMatch(/target.before\[1\].url: .*finds an object with 2 keys/);
    expect(outcomes.get('no JSON')?.stderr).toMatch(/\/plain-login answered 200 without JSON: \d+ characters/);
    expect(outcomes.get('target test')?.stdout).toContain('[redacted]');
  });

  it('are in no output of any command', () => {
    const leaks = [...outcomes].map(([name, { stdout, stderr }]) => [name, leaksIn(stdout), leaksIn(stderr)]);
    expect(leaks).toEqual(leaks.map(([name]) => [name, [], []]));
  });

  it('are in no file of a run: databases, answers that were paid for, reports', () => {
    const files = filesUnder(tiny.runsFolder);
    const read = files.map((path) => [path, readFileSync(path).toString('latin1')] as const);
    expect(read.filter(([, text]) => text.includes('[redacted]')).map(([path]) => path)).toEqual(
      expect.arrayContaining([expect.stringMatching(/calls\.db$/), expect.stringMatching(/run\.db$/)]),
    );
    const leaks = read.map(([path, text]) => [path, leaksIn(text)]);
    expect(leaks).toEqual(leaks.map(([path]) => [path, []]));
  });
});
