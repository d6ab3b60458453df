import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../cli/cli-runner.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { openAiAnswers, sendJson, startTestServer, type TestServer } from './openai-server.ts';

const KEY = 'fg-command-key-55aa';

describe('floodgate target test', () => {
  let tiny: TinyCampaign;
  let server: TestServer;
  beforeAll(async () => {
    process.env.FLOODGATE_TEST_COMMAND_KEY = KEY;
    tiny = await createTinyCampaign();
    server = await startTestServer(openAiAnswers({ key: KEY }));
  });
  afterAll(async () => {
    await server.close();
    await tiny.remove();
    delete process.env.FLOODGATE_TEST_COMMAND_KEY;
  });

  async function test(target: object, ...flags: string[]) {
    const file = join(tiny.folder, 'wire.yaml');
    await writeFile(file, tiny.configText.replace(/target:\n( .*\n)+/, `target: ${JSON.stringify(target)}\n`));
    return cli(['target', 'test', file, ...flags]);
  }
  const openAi = (changes: object = {}) => ({
    kind: 'openai',
    baseUrl: `${server.url}/v1`,
    model: 'm',
    apiKeyEnv: 'FLOODGATE_TEST_COMMAND_KEY',
    concurrency: 4,
    ...changes,
  });

  it('shows the request without its key, the answer, and what works', async () => {
    const { code, stdout, stderr } = await test(openAi());
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`Target: openai, m, at ${server.host}`);
    expect(stdout).toContain(`POST ${server.url}/v1/chat/completions`);
    expect(stdout).toContain('authorization: [masked]');
    expect(stdout).toContain('Say hello in one short sentence.');
    expect(stdout).toMatch(/^tokens +3$/m);
    expect(stdout).toMatch(/^stop reason +stop$/m);
    expect(stdout).toMatch(/^n > 1 +yes$/m);
    expect(stdout).toMatch(/^seed +yes$/m);
    expect(stdout).toMatch(/^log-probs +yes$/m);
    expect(stdout).toMatch(/^1,000 calls +about .* with 4 at once, 3,000 tokens of answers$/m);
    expect(stdout).not.toContain(KEY);
  });

  it('says what does not work, and why', async () => {
    let calls = 0;
    const other = await startTestServer((response, { body }) => {
      const { n = 1, logprobs } = JSON.parse(body) as { n?: number; logprobs?: boolean };
      if (logprobs !== undefined) return sendJson(response, { error: 'no logprobs here' }, 400);
      return sendJson(response, { choices: [{ message: { content: `${calls++} of ${n}` }, finish_reason: null }] });
    });
    const { stdout } = await test(openAi({ baseUrl: `${other.url}/v1` }), '--json');
    await other.close();
    const result = JSON.parse(stdout);
    expect(result.abilities).toEqual({
      'n > 1': { works: false, why: expect.stringMatching(/^1 of 2 answers came/) },
      seed: { works: false, why: 'two answers under one seed differ' },
      'log-probs': { works: false, why: expect.stringMatching(/answered 400: .*no logprobs here/) },
    });
    expect(result).toMatchObject({
      kind: 'openai',
      hosts: [other.host],
      answer: { kind: 'text', usage: { isEstimated: true } },
      stopReason: null,
      thousandCalls: { atOnce: 4 },
      warnings: [expect.stringContaining('estimated')],
    });
  });

  it('says what 1,000 calls cost by the prices of the config, with as many at once as auto begins with', async () => {
    const file = join(tiny.folder, 'priced.yaml');
    const target = JSON.stringify(openAi({ concurrency: 'auto', systemPrompt: 'Be kind.' }));
    const prices =
      'prices: { currency: EUR, target: { perCall: 0.01, perMillionTokens: 1000, perMillionPromptTokens: 100 } }';
    await writeFile(file, `${tiny.configText.replace(/target:\n( .*\n)+/, `target: ${target}\n`)}${prices}\n`);
    const { stdout } = await cli(['target', 'test', file]);
    // 10 for the calls, 3 for 3,000 tokens of answers, 1 for 10 tokens of each prompt: 8 and 2.
    expect(stdout).toMatch(/^1,000 calls +about .* with 4 at once, 3,000 tokens of answers, about 14 EUR$/m);
    const { thousandCalls } = JSON.parse((await cli(['target', 'test', file, '--json'])).stdout);
    expect(thousandCalls).toMatchObject({ atOnce: 4, currency: 'EUR' });
    expect(thousandCalls.money).toBeCloseTo(14, 6);
  });

  it('works for every other kind: an app, fixed rules on this machine', async () => {
    const app = await startTestServer((response) => sendJson(response, { text: 'hello\u001b[31m you' }));
    const http = { kind: 'http', url: `${app.url}/chat`, body: { json: { q: '{{attack}}' } }, answer: '$.text' };
    const shown = await test(http);
    await app.close();
    expect(shown.stdout).toMatch(/ {2}\{"q":"Say hello in one short sentence."\}/);
    expect(shown.stdout).toContain('hello\\u{1b}[31m you');
    const rules = await test({ kind: 'scripted', otherwise: ['fine thanks'] });
    expect(rules.stdout).toContain('Target: scripted, scripted, on this machine');
    expect(rules.stdout).toContain('fine thanks');
  });

  it('a run whose target cannot be asked ends before it makes a folder, and so does its dry run', async () => {
    const file = join(tiny.folder, 'gone.yaml');
    const target = JSON.stringify(openAi({ baseUrl: 'http://127.0.0.1:1/v1', retries: 0 }));
    await writeFile(file, tiny.configText.replace(/target:\n( .*\n)+/, `target: ${target}\n`));
    for (const flag of ['--dry-run', '--debug']) {
      const { code, stderr } = await cli(['run', file, '--runs-dir', tiny.runsFolder, flag]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/error: target.baseUrl: got http:\/\/127.0.0.1:1\//);
      expect(stderr).toMatch(/hint: start the server/);
      expect(stderr).not.toContain(KEY);
    }
    expect(existsSync(tiny.runsFolder) ? readdirSync(tiny.runsFolder) : []).toEqual([]);
  });

  it('names its host in a dry run', async () => {
    const file = join(tiny.folder, 'dry.yaml');
    await writeFile(file, tiny.configText.replace(/target:\n( .*\n)+/, `target: ${JSON.stringify(openAi())}\n`));
    const { stdout } = await cli(['run', file, '--dry-run']);
    expect(stdout).toContain(`Hosts that are contacted: ${server.host}. Harmless prompts went to the target just now.`);
  });

  it('names the value and the remedy when the target cannot be asked', async () => {
    const { code, stderr } = await test(openAi({ model: 'other' }));
    expect(code).toBe(1);
    expect(stderr).toMatch(/error: target.model: got other: .*no such model/);
    expect(stderr).toMatch(/hint: the server has m/);
  });
});
