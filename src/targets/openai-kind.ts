import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import type { HttpCall } from '../wire/http-client.ts';
import { bearerHeader, readSecretFile } from '../wire/secrets.ts';
import { WireFailure } from '../wire/wire-failure.ts';
import { environmentName, KEY_WORDS, methodUrl, webAddress } from '../wire/wire-fields.ts';
import { checkOpenAi } from './openai-check.ts';
import { answersOf, type OpenAiPrompt, type OpenAiReply, parseOpenAiReply } from './openai-protocol.ts';
import { createOpenAiTarget, type OpenAiServer, openAiCall } from './openai-target.ts';
import {
  contactedHosts,
  countWarnings,
  HTTP_PATH_KEYS,
  httpFields,
  interruptedUnless,
  openWire,
  promptBefore,
  readHeaders,
  statusOfFilter,
  type Wire,
  wireWarnings,
} from './remote-fields.ts';
import { shownExchange, shownRequest } from './shown-request.ts';
import type { TargetAnswer } from './target.ts';
import {
  createTargetKind,
  HARMLESS_PROMPT,
  NO_MODEL_FACTS,
  type PlannedTarget,
  type TargetConfig,
  type TargetHost,
} from './target-kind.ts';
import { type AskedAddress, wireError } from './wire-errors.ts';

const fields = {
  baseUrl: webAddress.describe('address of the server up to and with /v1, e.g. http://127.0.0.1:8000/v1'),
  model: line.describe('as the server names it'),
  apiKeyEnv: environmentName.optional().describe(`${KEY_WORDS}; the key itself is stored nowhere`),
  apiKeyFile: line.optional().describe('file that holds the key, in place of apiKeyEnv'),
  api: z.enum(['chat', 'completions']).default('chat').describe('completions: the attack unchanged, without a chat'),
  systemPrompt: promptBefore,
  sendSeed: z.boolean().default(true).describe('a seed with each request; false for a server that refuses it'),
  tokenLimit: z
    .enum(['max_tokens', 'max_completion_tokens'])
    .default('max_tokens')
    .describe('the key of the request that holds decode.maxNewTokens'),
  extraBody: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('further keys of each request, e.g. {repetition_penalty: 1.1}; they override ours'),
  refusedStatus: statusOfFilter('server'),
  ...httpFields,
};

type OpenAiConfig = z.output<z.ZodObject<typeof fields>> & Pick<TargetConfig, 'kind' | 'decode' | 'responses'>;

const FILTER_HINT = '; where a filter refuses attacks with this status, add it to target.refusedStatus';

function readKey({ apiKeyEnv, apiKeyFile }: OpenAiConfig): Record<string, string> {
  if (apiKeyEnv !== undefined && apiKeyFile !== undefined)
    throw new FloodgateError('config', 'target: got apiKeyEnv and apiKeyFile, expected one of them');
  if (apiKeyFile !== undefined) return { authorization: `Bearer ${readSecretFile(apiKeyFile, 'target.apiKeyFile')}` };
  return bearerHeader(apiKeyEnv, 'target.apiKeyEnv');
}

function askedAddress({ model, apiKeyEnv, apiKeyFile }: OpenAiConfig, url: URL): AskedAddress {
  const holder = apiKeyEnv ?? apiKeyFile;
  return {
    key: 'target.baseUrl',
    url,
    keyHint:
      holder === undefined
        ? 'the server wants a key: name its environment variable in target.apiKeyEnv'
        : `the server does not accept the key in ${holder}, or that key may not use ${model}${FILTER_HINT}`,
    notFoundHint: `check that the server has target.model ${model}, and that target.baseUrl ends where its API begins, often in /v1`,
    requestHint:
      'target.baseUrl often ends in /v1; where the server refuses a key of the request, set target.sendSeed: false, ' +
      'target.tokenLimit: max_completion_tokens, target.decode.topK: 0 or target.api',
  };
}

/** How the server of a config is asked. @throws FloodgateError `config` for a key that is not there. */
function serverOf(config: OpenAiConfig): OpenAiServer {
  const { api, baseUrl, model, systemPrompt, tokenLimit, extraBody } = config;
  if (api === 'completions' && systemPrompt !== undefined)
    throw new FloodgateError('config', 'target.systemPrompt: got one with api: completions, which has no roles', {
      hint: 'remove target.systemPrompt, or set target.api: chat',
    });
  const prompt: OpenAiPrompt = { api, model, systemPrompt, tokenLimit, extraBody };
  const url = methodUrl(baseUrl, api === 'chat' ? 'chat/completions' : 'completions');
  const headers = { ...readKey(config), ...readHeaders(config.headers, 'target.headers') };
  return { prompt, url, headers, refusedStatus: config.refusedStatus, asked: askedAddress(config, url) };
}

export const modelList = z.looseObject({ data: z.array(z.looseObject({ id: z.string() })).max(10_000) });

/** Most models that an error names. */
const SHOWN_MODELS = 8;

/** `error` with the models that the server does have, where it says that it has none of that name. */
async function withModelList(
  error: WireFailure,
  { server, config, wire, call }: { server: OpenAiServer; config: OpenAiConfig; wire: Wire; call: HttpCall },
  signal: AbortSignal,
) {
  if (error.status !== 404) return wireError(error, server.asked, call);
  const { headers, asked } = server;
  const list = { method: 'GET', url: methodUrl(config.baseUrl, 'models'), headers };
  const parse = ({ text }: { text: string }) => modelList.safeParse(JSON.parse(text)).data?.data.map(({ id }) => id);
  const models = await wire.checker.call(list, parse, signal).catch(() => undefined);
  if (signal.aborted) return interruptedUnless(signal, error, 'target');
  if (models === undefined || models.length === 0) return wireError(error, asked, call);
  if (models.includes(config.model)) return wireError(error, asked, call);
  const shown = `${models.slice(0, SHOWN_MODELS).join(', ')}${models.length > SHOWN_MODELS ? ', …' : ''}`;
  const exchange = shownExchange(shownRequest(call), error.body);
  return new FloodgateError('target', `target.model: got ${config.model}: ${error.message}\n${exchange}`, {
    hint: `the server has ${shown}`,
    cause: error,
  });
}

/** One harmless exchange, so that a server that cannot be asked is found before any work. */
async function probe(
  server: OpenAiServer,
  config: OpenAiConfig,
  wire: Wire,
  { signal, seed }: Pick<TargetHost, 'signal' | 'seed'>,
): Promise<TargetAnswer> {
  const sent = config.sendSeed ? seed : undefined;
  const call = openAiCall(server, { attack: HARMLESS_PROMPT, decode: config.decode, n: 1, seed: sent });
  try {
    const reply: OpenAiReply = await wire.checker.call(call, parseOpenAiReply, signal);
    const [answer] = answersOf(reply, config.decode.maxNewTokens);
    if (answer !== undefined && answer.kind !== 'failed') return answer;
    throw new WireFailure('protocol', answer?.reason ?? 'the answer holds no choices', { isTransient: false });
  } catch (error) {
    if (error instanceof WireFailure) throw await withModelList(error, { server, config, wire, call }, signal);
    throw interruptedUnless(signal, error, 'target');
  }
}

async function plan(config: OpenAiConfig, host: TargetHost): Promise<PlannedTarget> {
  const server = serverOf(config);
  const name = `openai/${config.model}`;
  const wire = openWire(name, config);
  try {
    const answer = await probe(server, config, wire, host);
    const warnings = [...wireWarnings(config), ...countWarnings('server', answer)];
    const { kind, model, systemPrompt = null, api } = config;
    const template = api === 'chat' ? ('chat' as const) : ('plain' as const);
    const facts = { ...NO_MODEL_FACTS, kind, model, systemPrompt, template, warnings };
    const hosts = contactedHosts([server.url], config);
    const open = async () => {
      const { client, caller, limiter } = openWire(name, config);
      const seed = config.sendSeed ? host.seed : undefined;
      const release = () => client.close();
      const target = createOpenAiTarget({ ...server, name, caller, limiter, seed, release });
      return { target, facts, hosts, checkpoint: undefined, close: () => target.close() };
    };
    return { facts, hosts, open, check: (signal) => checkOpenAi(server, config, signal) };
  } finally {
    await wire.client.close();
  }
}

/** A model behind any OpenAI-compatible server. */
export const openAiKind = createTargetKind({
  name: 'openai',
  describe: 'a model behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, LM Studio, TGI, a provider',
  fields,
  modelKeys: ['model'],
  pathKeys: ['apiKeyFile', ...HTTP_PATH_KEYS],
  plan,
});
