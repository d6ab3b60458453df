import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../cli/cli-runner.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { selfSigned } from './certificates.ts';
import { openAiAnswers, sendJson, startTestServer, type TestServer } from './openai-server.ts';

const KEY = 'fg-bad-target-key-3b';

/** Each wrong target, as a user would run it: one error before anything is trained, with the first exchange. */
describe('a run against a target that is set up wrongly', () => {
  let tiny: TinyCampaign;
  let app: TestServer;
  let model: TestServer;
  const servers: { close(): unknown }[] = [];
  beforeAll(async () => {
    process.env.FLOODGATE_TEST_BAD_KEY = KEY;
    tiny = await createTinyCampaign();
    app = await startTestServer((response, { body, headers }) => {
      if (headers['x-key'] !== KEY) return sendJson(response, { error: `the key ${headers['x-key']} is wrong` }, 401);
      return sendJson(response, { reply: `You said ${body.length}.` });
    });
    model = await startTestServer(openAiAnswers({ models: ['right-model'] }));
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
  });
  afterAll(async () => {
    await app.close();
    await model.close();
    await tiny.remove();
    delete process.env.FLOODGATE_TEST_BAD_KEY;
  });

  let runs = 0;
  async function run(target: object, ...flags: string[]) {
    const file = join(tiny.folder, 'bad.yaml');
    await writeFile(file, tiny.configText.replace(/target:\n( .*\n)+/, `target: ${JSON.stringify(target)}\n`));
    const name = `bad-${runs++}`;
    const outcome = await cli(['run', file, '--runs-dir', tiny.runsFolder, '--name', name, ...flags]);
    const folder = join(tiny.runsFolder, name);
    return {
      ...outcome,
      isTrained: existsSync(folder) && readdirSync(folder).some((each) => each.endsWith('.safetensors')),
    };
  }

  const http = (changes: object = {}) => ({
    kind: 'http',
    url: `${app.url}/chat`,
    headers: { 'X-Key': 'FLOODGATE_TEST_BAD_KEY' },
    body: { json: { message: '{{attack}}' } },
    answer: '$.reply',
    retries: 0,
    ...changes,
  });
  const openAi = (changes: object = {}) => ({
    kind: 'openai',
    baseUrl: `${model.url}/v1`,
    model: 'right-model',
    retries: 0,
    ...changes,
  });

  const CASES: [string, () => object, RegExp, RegExp, boolean][] = [
    [
      'a wrong port',
      () => http({ url: 'http://127.0.0.1:1/chat' }),
      /target.url: got http:\/\/127.0.0.1:1\/chat/,
      /start the server/,
      true,
    ],
    [
      'a wrong path',
      () => openAi({ baseUrl: `${model.url}/v2` }),
      /target.baseUrl: got .*\/v2.* answered 404/,
      /often in \/v1/,
      true,
    ],
    [
      'a name without an address',
      () => http({ url: 'http://no-such-host.invalid/chat' }),
      /no-such-host.invalid: the name has no address/,
      /check the host name in target.url/,
      true,
    ],
    ['a key that is not accepted', () => http({ headers: {} }), /answered 401/, /name the header/, true],
    [
      'a model that is not there',
      () => openAi({ model: 'wrong-model' }),
      /target.model: got wrong-model: .*404/,
      /the server has right-model/,
      true,
    ],
    [
      'a path that finds nothing',
      () => http({ answer: '$.answer' }),
      /target.answer: \$.answer finds nothing.*texts are at \$.reply/,
      /check target.answer/,
      true,
    ],
    [
      'a template that is no JSON',
      () => http({ body: { json: '{"message": {{attack}}}' } }),
      /body.json: got .*expected JSON/,
      /within quotes/,
      false,
    ],
  ];
  it.each(CASES)('by %s ends before it makes a folder', async (_name, target, message, hint, hasExchange) => {
    const { code, stderr } = await run(target());
    expect(code).not.toBe(0);
    expect(stderr).toMatch(message);
    expect(stderr.split('\n').find((line) => line.startsWith('hint: '))).toMatch(hint);
    expect(existsSync(tiny.runsFolder) ? readdirSync(tiny.runsFolder) : []).toEqual([]);
    expect(stderr).not.toContain(KEY);
    if (!hasExchange) return;
    expect(stderr).toMatch(/The request was:\n {4}(POST|GET) http/);
    expect(stderr).toContain('Say hello in one short sentence.');
  });

  it('by a certificate that nobody signed names the remedy', async () => {
    const server = createServer(await selfSigned('localhost'), (_request, response) => response.end('{}'));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const { stderr } = await run(http({ url: `https://127.0.0.1:${port}/chat` }));
    expect(stderr).toMatch(/no secure connection: self-signed certificate/);
    expect(stderr).toMatch(/hint: .*target.caFile.*http:\/\/ in target.url/);
    expect(stderr).toContain('The request was:');
  });

  const STRANGE: [string, (prompt: string) => object, RegExp][] = [
    [
      'refuses everything',
      () => ({ reply: "I'm sorry, but I can't help with that." }),
      /every harmless prompt was refused/,
    ],
    ['echoes', (prompt) => ({ reply: `User: ${prompt.replace(/ /g, '  ')}\nBot:` }), /every answer repeats the prompt/],
    ['is silent', () => ({ reply: ' ' }), /every answer is an empty text/],
  ];
  it.each(STRANGE)('that %s is refused with the exchange, unless it is meant', async (_name, answer, finding) => {
    const odd = await startTestServer((response, { body }) =>
      sendJson(response, answer((JSON.parse(body) as { message: string }).message)),
    );
    servers.push(odd);
    const short = [
      '--set',
      'attackers=[sft]',
      '--set',
      'evaluation.attacks=4',
      '--set',
      'sft.updates=1',
      '--set',
      'sft.warmupUpdates=0',
    ];
    const target = http({ url: `${odd.url}/chat` });
    const refused = await run(target, ...short);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(finding);
    expect(refused.stderr).toMatch(/asked: {4}Which day comes after Monday\?\n {2}answered: \S/);
    expect(refused.stderr).toMatch(/hint: .*target.checkAnswers: false/);
    expect(refused.isTrained).toBe(false);
    expect((await run({ ...target, checkAnswers: false }, ...short)).code).toBe(0);
    const file = join(tiny.folder, 'bad.yaml');
    await writeFile(file, tiny.configText.replace(/target:\n( .*\n)+/, `target: ${JSON.stringify(target)}\n`));
    expect((await cli(['target', 'test', file])).stdout).toMatch(
      new RegExp(`warning: a run is refused: ${finding.source}`),
    );
  });
});
