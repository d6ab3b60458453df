import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CATALOGUE } from '../../src/models/sources/catalogue.ts';
import { cacheSlotOf, writeManifest } from '../../src/models/sources/model-cache.ts';
import { loadConfig } from '../../src/stages/campaign/config-load.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import {
  openAiAnswers,
  type SeenRequest,
  sendJson,
  startTestServer,
  type TestServer,
} from '../targets/openai-server.ts';
import { cli } from './cli-runner.ts';

const KEY = 'fg-init-judges-key-3e';
const CHAT = 'tiny-chat';
const LLAMA = 'meta-llama/Llama-Guard-3-8B';
const QWEN = 'Qwen/Qwen3Guard-Gen-8B';
const SHIELD = 'google/shieldgemma-2b';
const GRANITE = 'granite3-guardian:2b';

let tiny: TinyCampaign;
const servers: TestServer[] = [];
beforeAll(async () => {
  process.env.FLOODGATE_TEST_GUARD_KEY = KEY;
  tiny = await createTinyCampaign();
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
afterAll(async () => {
  await tiny.remove();
  delete process.env.FLOODGATE_TEST_GUARD_KEY;
});

/** A server with a chat model and guards, of which two judge: one by our prompt, one by its own template alone. */
async function startGuards(models: readonly string[]): Promise<TestServer> {
  const chat = openAiAnswers({ models: [CHAT, ...models], key: KEY });
  const server = await startTestServer((response: ServerResponse, seen: SeenRequest) => {
    const { model = CHAT } = (seen.body === '' ? {} : JSON.parse(seen.body)) as { model?: string };
    if (model === CHAT) return chat(response, seen);
    if (seen.headers.authorization !== `Bearer ${KEY}`) return sendJson(response, { error: 'who is it?' }, 401);
    const isChat = seen.path.endsWith('/chat/completions');
    if (model === LLAMA && !isChat) return sendJson(response, { choices: [{ text: '\n\nsafe' }] });
    if (model === QWEN && isChat)
      return sendJson(response, { choices: [{ message: { content: 'Safety: Safe\nCategories: None' } }] });
    // One whose label is wrong for a greeting, and one that is not loaded.
    if (model === GRANITE) return sendJson(response, { choices: [{ text: 'Yes', message: { content: 'Yes' } }] });
    return sendJson(response, { error: { message: `${model} cannot be loaded` } }, 400);
  });
  servers.push(server);
  return server;
}

let files = 0;
async function init(url: string, cacheDir = join(tiny.folder, 'no-cache')) {
  const file = join(tiny.folder, `init-${files++}.yaml`);
  const flags = ['--target', url, '--api-key-env', 'FLOODGATE_TEST_GUARD_KEY', '--cache-dir', cacheDir];
  return { ...(await cli(['init', file, ...flags])), file };
}

/** The written config with nothing but its authorisation filled in. */
async function fillIn(file: string): Promise<void> {
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('authorisation: ""', 'authorisation: a server of this test'));
}

/** A dry run of the config as it was written; only the models of this machine are replaced by tiny ones. */
async function dryRun(file: string) {
  const own = [
    `attacker.model=${tiny.folder}/attacker`,
    `encoder.model=${tiny.folder}/encoder`,
    'attacker.maxTokens=8',
  ];
  const sets = [...own, 'attacker.metaPrompt=say', 'attacker.minTokens=2'].flatMap((each) => ['--set', each]);
  return cli(['--json', 'run', file, '--dry-run', '--cache-dir', join(tiny.folder, 'cache'), ...sets]);
}

describe('floodgate init --target', () => {
  it('writes the guards of the server that judge as judges, asked as they can be', async () => {
    const server = await startGuards([LLAMA, QWEN, SHIELD, GRANITE]);
    const { code, stdout, stderr, file } = await init(server.url);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`the model ${CHAT}`);
    expect(stdout).toContain(`judge ${LLAMA}: calls a greeting safe, as llama-guard-3`);
    expect(stdout).toContain(`judge ${QWEN}: calls a greeting safe, as qwen3guard`);
    expect(stdout).toMatch(new RegExp(`left out ${SHIELD}: .*cannot be loaded`));
    expect(stdout).toContain(`left out ${GRANITE}: it calls a greeting unsafe`);
    expect(stdout).not.toContain(KEY);
    await fillIn(file);
    const { judges } = await loadConfig(file, []);
    const asked = { baseUrl: `${server.url}/v1`, apiKeyEnv: 'FLOODGATE_TEST_GUARD_KEY' };
    expect(judges.evaluation).toMatchObject([
      { kind: 'tox-block' },
      { kind: 'profanity' },
      { kind: 'guard-api', model: LLAMA, format: 'llama-guard-3', api: 'completions', ...asked },
      { kind: 'guard-api', model: QWEN, format: 'qwen3guard', api: 'chat', ...asked },
    ]);
    const planned = await dryRun(file);
    expect(planned.code, planned.stderr).toBe(0);
    const { hosts, stages } = JSON.parse(planned.stdout) as { hosts: string[]; stages: { judgeCalls: number }[] };
    expect(hosts).toEqual([server.host]);
    expect(stages.every(({ judgeCalls }) => judgeCalls >= 0)).toBe(true);
  });

  it('writes none where the server has none, and asks for no verdict', async () => {
    const server = await startGuards([]);
    const { code, stdout, file } = await init(server.url);
    expect(code).toBe(0);
    expect(stdout).not.toMatch(/judge|left out/);
    await fillIn(file);
    expect((await loadConfig(file, [])).judges.evaluation.map(({ kind }) => kind)).toEqual(['tox-block', 'profanity']);
    const planned = await dryRun(file);
    expect(planned.code, planned.stderr).toBe(0);
  });

  it('writes the guards and classifiers of this machine', async () => {
    const names = ['qwen3guard-gen-0.6b', 'llama-guard-3-1b', 'toxic-bert'];
    const cacheDir = join(tiny.folder, 'with-guards');
    for (const entry of CATALOGUE.filter(({ name }) => names.includes(name))) {
      if (entry.kind === 'built-in') throw new TypeError(`${entry.name} is built in`);
      const { folder } = cacheSlotOf(cacheDir, entry.spec);
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, 'model.bin'), 'x');
      const record = { name: 'model.bin', sha256: '0'.repeat(64), bytes: 1 };
      await writeManifest(folder, { spec: entry.spec, origin: 'a test', files: [record] });
    }
    const server = await startGuards([]);
    const { code, stdout, file } = await init(server.url, cacheDir);
    expect(code).toBe(0);
    for (const name of names) expect(stdout).toContain(`judge ${name}: on this machine`);
    await fillIn(file);
    expect((await loadConfig(file, [])).judges.evaluation.slice(2)).toMatchObject([
      { kind: 'classifier', model: 'toxic-bert' },
      { kind: 'guard', model: 'qwen3guard-gen-0.6b', format: 'qwen3guard' },
      { kind: 'guard', model: 'llama-guard-3-1b', format: 'llama-guard-3' },
    ]);
    const planned = await dryRun(file);
    expect(planned.code, planned.stderr).toBe(0);
    await rm(cacheDir, { recursive: true });
  });

  it('attacks no guard where the server has another model, whatever their order', async () => {
    const answers = openAiAnswers({ models: [SHIELD, CHAT], key: KEY });
    const server = await startTestServer((response, seen) =>
      seen.body.includes(SHIELD) ? sendJson(response, { error: 'no such model here' }, 404) : answers(response, seen),
    );
    servers.push(server);
    const { stdout, file } = await init(server.url);
    expect(stdout).toContain(`the model ${CHAT}`);
    await fillIn(file);
    expect((await loadConfig(file, [])).target).toMatchObject({ model: CHAT });
  });
});
