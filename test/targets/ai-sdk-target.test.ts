import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { redactSecrets } from '../../src/base/errors.ts';
import { loadProvider, PROVIDER_NAMES } from '../../src/targets/ai-sdk-provider.ts';
import { anthropicReply } from './anthropic-reply.ts';
import { openFrom, planFrom } from './open-target.ts';
import { type SeenRequest, sendJson, startTestServer, type TestServer } from './openai-server.ts';
import { asking, DECODE, describeTargetContract, textsOf } from './target-contract.ts';

const KEY = 'fg-sdk-key-2e81';

interface AnthropicBody {
  readonly model: string;
  readonly max_tokens: number;
  readonly system?: readonly { readonly text: string }[];
  readonly messages: readonly { readonly role: string; readonly content: readonly { readonly text: string }[] }[];
}

/** Answers as the Messages API of Anthropic does. */
function anthropicAnswers(response: ServerResponse, seen: SeenRequest): unknown {
  const fail = (type: string, message: string, status: number) =>
    sendJson(response, { type: 'error', error: { type, message } }, status);
  if (seen.headers['x-api-key'] !== KEY)
    return fail('authentication_error', `invalid x-api-key ${seen.headers['x-api-key']}`, 401);
  if (seen.path !== '/v1/messages') return response.writeHead(404).end('<html>not here</html>');
  const body = JSON.parse(seen.body) as AnthropicBody;
  if (!['claude-of-this-test', 'claude-haiku-4-5'].includes(body.model))
    return fail('not_found_error', `model: ${body.model}`, 404);
  const prompt =
    body.messages
      .at(-1)
      ?.content.map(({ text }) => text)
      .join('') ?? '';
  if (prompt.includes('break down')) return fail('invalid_request_error', 'cannot parse that', 400);
  if (prompt.includes('filtered'))
    return fail('invalid_request_error', 'Output blocked by content filtering: content_policy', 400);
  const isRefused = prompt.includes('please refuse');
  const isCut = prompt.includes('long story');
  const stop = isRefused ? 'refusal' : isCut ? 'max_tokens' : 'end_turn';
  const reply = anthropicReply(isRefused ? undefined : `you said ${prompt.length}`, stop, isCut ? body.max_tokens : 4);
  return sendJson(response, reply);
}

const servers: TestServer[] = [];
async function start(answer = anthropicAnswers): Promise<TestServer> {
  const server = await startTestServer(answer);
  servers.push(server);
  return server;
}
const configFor = ({ url }: TestServer, changes: object = {}) => ({
  kind: 'ai-sdk',
  provider: 'anthropic',
  model: 'claude-of-this-test',
  baseUrl: `${url}/v1`,
  apiKeyEnv: 'FLOODGATE_TEST_SDK_KEY',
  retries: 1,
  ...changes,
});

beforeAll(() => {
  process.env.FLOODGATE_TEST_SDK_KEY = KEY;
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
afterAll(() => {
  delete process.env.FLOODGATE_TEST_SDK_KEY;
});

describeTargetContract(
  'ai-sdk target over the interface of Anthropic',
  async () => (await openFrom(configFor(await start()))).target,
  {
    refused: 'please refuse',
    failed: 'break down',
  },
);

describe('an ai-sdk target', () => {
  const ask = async (attack: string, changes: object = {}) => {
    const server = await start();
    const { target } = await openFrom(configFor(server, changes));
    const answer = (await target.ask([{ attack, streamName: ['t'] }], asking(1)))[0]?.[0];
    await target.close();
    return {
      answer,
      body: JSON.parse(server.seen.at(-1)?.body ?? '{}') as AnthropicBody & Record<string, unknown>,
      server,
    };
  };

  it('sends the attack, the decoding, the system prompt and the options of a provider', async () => {
    const { body, server } = await ask('hello there', {
      model: 'claude-haiku-4-5',
      systemPrompt: 'Be kind.',
      providerOptions: { anthropic: { metadata: { userId: 'tester' } } },
      headers: { 'X-Gateway': 'FLOODGATE_TEST_SDK_KEY' },
    });
    expect(body).toMatchObject({
      model: 'claude-haiku-4-5',
      max_tokens: DECODE.maxNewTokens,
      temperature: DECODE.temperature,
      system: [{ type: 'text', text: 'Be kind.' }],
      messages: [{ role: 'user', content: [{ type: 'text', text: 'hello there' }] }],
      metadata: { user_id: 'tester' },
    });
    expect(server.seen.at(-1)?.headers).toMatchObject({ 'x-api-key': KEY, 'x-gateway': KEY });
  });

  it('counts the tokens that an answer may have against its tokens a minute', async () => {
    const server = await start();
    const limits = { tokensPerMinute: 60_000, decode: { ...DECODE, maxNewTokens: 700 } };
    const { target } = await openFrom(configFor(server, limits));
    const began = performance.now();
    await target.ask([{ attack: 'hello', streamName: ['t'] }], asking(3, { decode: limits.decode }));
    await target.close();
    expect(performance.now() - began).toBeGreaterThan(1000); // 2,100 tokens: a burst of a second, and 1,000 a second
  });

  it('warns of the settings that its model ignores', async () => {
    const { facts } = await planFrom(configFor(await start()));
    expect(facts.warnings.join()).toMatch(/temperature is not supported by claude-of-this-test and will be ignored/);
  });

  it('counts tokens, tells a cut answer, and tells a refusal in each of its forms', async () => {
    expect((await ask('hi')).answer).toEqual({
      kind: 'text',
      text: 'you said 2',
      truncated: false,
      usage: { calls: 1, tokens: 4 },
    });
    expect((await ask('a long story')).answer).toMatchObject({
      truncated: true,
      usage: { tokens: DECODE.maxNewTokens },
    });
    expect((await ask('please refuse')).answer).toMatchObject({
      kind: 'refused',
      reason: 'content filter of the provider',
    });
    expect((await ask('filtered')).answer).toMatchObject({ kind: 'refused', reason: 'content policy of the provider' });
    expect((await ask('break down', { refusedStatus: [400] })).answer).toMatchObject({ kind: 'refused' });
  });

  it('repeats a call in one place only: after status 529, HTML, and a reset', async () => {
    const server = await start();
    const { target } = await openFrom(configFor(server, { retries: 2 }));
    const before = server.seen.length;
    server.faults.push((response) =>
      sendJson(response, { type: 'error', error: { type: 'overloaded_error', message: 'busy' } }, 529),
    );
    server.faults.push((response) => response.end('<html>a gateway</html>'));
    expect(textsOf((await target.ask([{ attack: 'hi', streamName: [] }], asking(1)))[0])).toEqual(['you said 2']);
    expect(server.seen.length - before).toBe(3);
    server.faults.push(...Array(3).fill((response: ServerResponse) => response.destroy()));
    const [[failed] = []] = await target.ask([{ attack: 'hi', streamName: [] }], asking(1));
    expect(failed).toMatchObject({ kind: 'failed', reason: expect.stringContaining('after 2 retries') as string });
    expect(server.seen.length - before).toBe(6);
    await target.close();
  });

  it('shows its exchange without the key, and names its host', async () => {
    const server = await start();
    const planned = await planFrom(configFor(server));
    expect(planned.hosts).toEqual([server.host]);
    const check = await planned.check?.(new AbortController().signal);
    expect(check).toMatchObject({ stopReason: 'stop', answer: { kind: 'text' } });
    expect(check?.request).toContain(`POST ${server.url}/v1/messages`);
    expect(check?.request).toContain('x-api-key: [masked]');
    expect(check?.request).not.toContain(KEY);
  });

  it('that cannot be asked is refused with the exchange and the remedy', async () => {
    const server = await start();
    process.env.FLOODGATE_TEST_SDK_OTHER = 'fg-sdk-other-key';
    const refused = (changes: object) => planFrom(configFor(server, changes));
    await expect(refused({ apiKeyEnv: 'FLOODGATE_TEST_SDK_OTHER' })).rejects.toMatchObject({
      code: 'target',
      message: expect.stringMatching(/answered 401: .*\[redacted\][\s\S]*The request was:\n {4}POST /) as string,
      hint: expect.stringContaining('FLOODGATE_TEST_SDK_OTHER') as string,
    });
    delete process.env.FLOODGATE_TEST_SDK_OTHER;
    await expect(refused({ model: 'none' })).rejects.toMatchObject({
      hint: 'check that the provider has target.model none',
    });
    await expect(refused({ apiKeyEnv: 'FLOODGATE_TEST_SDK_NONE' })).rejects.toMatchObject({ code: 'config' });
    await expect(refused({ baseUrl: 'http://127.0.0.1:1/v1' })).rejects.toMatchObject({
      hint: 'start the server, or correct host and port in target.baseUrl',
    });
    expect(redactSecrets(KEY)).toBe('[redacted]');
  });
});

describe('the packages of the AI SDK', () => {
  it.each(PROVIDER_NAMES)('%s: one that is missing is named, with the command that installs it', async (provider) => {
    const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
    const load = (name: string) =>
      name === 'ai' ? Promise.resolve({ generateText: () => undefined }) : Promise.reject(missing);
    await expect(loadProvider(provider, load)).rejects.toMatchObject({
      code: 'target',
      message: expect.stringMatching(
        /^target.provider: \w+ needs the package @ai-sdk\/[\w-]+; it is not installed$/,
      ) as string,
      hint: expect.stringMatching(/^npm install ai@6 @ai-sdk\/[\w-]+@[34]$/) as string,
    });
  });

  it('a provider that is not installed here ends a config before anything is asked', async () => {
    process.env.MISTRAL_API_KEY ??= 'unused-key';
    const config = { kind: 'ai-sdk', provider: 'mistral', model: 'm' };
    await expect(planFrom(config)).rejects.toMatchObject({ hint: 'npm install ai@6 @ai-sdk/mistral@3' });
  });

  it('of a version without the function is told from one that is missing', async () => {
    await expect(loadProvider('anthropic', async () => ({}))).rejects.toThrow(/of a version that is not known/);
    const broken = () => Promise.reject(new Error('needs Node 22'));
    await expect(loadProvider('anthropic', broken)).rejects.toThrow(/it cannot be loaded: needs Node 22/);
  });
});
