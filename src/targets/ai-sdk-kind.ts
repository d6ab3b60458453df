import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { type Caller, createTimedCaller } from '../wire/caller.ts';
import type { HttpCall } from '../wire/http-client.ts';
import { readEnvironmentValue } from '../wire/secrets.ts';
import { isLasting, WireFailure } from '../wire/wire-failure.ts';
import { environmentName, webAddress } from '../wire/wire-fields.ts';
import {
  createProviderFetch,
  type GeneratedText,
  type LoadedProvider,
  loadProvider,
  PROVIDER_NAMES,
  PROVIDERS,
  wireFailureOf,
} from './ai-sdk-provider.ts';
import { estimateTokens, isContentRefusal } from './openai-protocol.ts';
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
  tooLong,
  wireWarnings,
} from './remote-fields.ts';
import { type Answering, createRemoteTarget, failedAnswer, refusedAnswer, repeated, seedOf } from './remote-target.ts';
import { shownRequest } from './shown-request.ts';
import type { DecodeSettings, TargetAnswer, TargetRequest } from './target.ts';
import {
  createTargetKind,
  HARMLESS_PROMPT,
  NO_MODEL_FACTS,
  type PlannedTarget,
  type TargetCheck,
  type TargetConfig,
  type TargetHost,
} from './target-kind.ts';
import { type AskedAddress, wireError } from './wire-errors.ts';

const fields = {
  provider: z.enum(PROVIDER_NAMES).describe('its package is installed beside Floodgate, with the package ai'),
  model: line.describe('as the provider names it'),
  apiKeyEnv: environmentName
    .optional()
    .describe('environment variable of the key; when absent, the usual one of the provider'),
  baseUrl: webAddress.optional().describe('another address than the usual one of the provider'),
  settings: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('further settings of the provider, e.g. {region: eu-west-1} or {resourceName: my-resource}'),
  settingsEnv: z
    .record(z.string(), environmentName)
    .default({})
    .describe('secret settings by variable, e.g. {accessKeyId: AWS_ACCESS_KEY_ID}; they take the place of apiKeyEnv'),
  providerOptions: z
    .record(z.string(), z.record(z.string(), z.unknown()))
    .default({})
    .describe('options of each request, as the AI SDK names them'),
  systemPrompt: promptBefore,
  sendSeed: z.boolean().default(false).describe('a seed with each request, for a provider that takes one'),
  refusedStatus: statusOfFilter('model'),
  ...httpFields,
};

type AiSdkConfig = z.output<z.ZodObject<typeof fields>> & Pick<TargetConfig, 'kind' | 'decode' | 'responses'>;

/** @throws FloodgateError `config` for a variable that is not set. */
function settingsOf(config: AiSdkConfig): Record<string, unknown> {
  const { provider, apiKeyEnv, baseUrl, settings, settingsEnv } = config;
  const secrets = Object.entries(settingsEnv).map(([name, variable]) => [
    name,
    // The name of the key takes part, so that the value is kept as a secret.
    readEnvironmentValue(variable, `target.settingsEnv.${name}`),
  ]);
  const usesKey = apiKeyEnv !== undefined || secrets.length === 0;
  const variable = apiKeyEnv ?? PROVIDERS[provider].keyVariable;
  return {
    ...settings,
    ...Object.fromEntries(secrets),
    ...(usesKey ? { apiKey: readEnvironmentValue(variable, 'target.apiKeyEnv') } : {}),
    ...(baseUrl === undefined ? {} : { baseURL: baseUrl }),
  };
}

function askedAddress(config: AiSdkConfig, url: URL): AskedAddress {
  const { provider, model, apiKeyEnv, settingsEnv } = config;
  const holders = [apiKeyEnv ?? PROVIDERS[provider].keyVariable, ...Object.values(settingsEnv)].join(', ');
  return {
    key: config.baseUrl === undefined ? 'target.provider' : 'target.baseUrl',
    url,
    keyHint:
      `the provider does not accept ${holders}, or may not use ${model} with it; ` +
      'where a filter refuses attacks with this status, add it to target.refusedStatus',
    notFoundHint: `check that the provider has target.model ${model}`,
    requestHint: 'check target.model, target.settings and target.providerOptions',
  };
}

/** A model of a provider over one wire. */
class SdkModel {
  /** The last request that was sent. */
  call: HttpCall | undefined;
  private readonly config: AiSdkConfig;
  private readonly loaded: LoadedProvider;
  private readonly model: unknown;

  constructor(config: AiSdkConfig, loaded: LoadedProvider, settings: Record<string, unknown>, caller: Caller) {
    this.config = config;
    this.loaded = loaded;
    const fetch = createProviderFetch(caller, readHeaders(config.headers, 'target.headers'), {
      sent: (call) => {
        this.call = call;
      },
      maxTokens: config.decode.maxNewTokens,
    });
    this.model = loaded.model(settings, fetch, config.model);
  }

  /** @throws WireFailure when a call failed for good; the signal's reason on abort. */
  async generate(attack: string, decode: DecodeSettings, seed: number, signal: AbortSignal): Promise<GeneratedText> {
    const { systemPrompt, sendSeed, providerOptions } = this.config;
    try {
      return await this.loaded.generateText({
        model: this.model,
        ...(systemPrompt === undefined ? {} : { system: systemPrompt }),
        prompt: attack,
        maxOutputTokens: decode.maxNewTokens,
        temperature: decode.temperature,
        topP: decode.topP,
        ...(decode.topK === 0 ? {} : { topK: decode.topK }),
        ...(sendSeed ? { seed } : {}),
        ...(Object.keys(providerOptions).length === 0 ? {} : { providerOptions }),
        maxRetries: 0, // ours are in the caller
        abortSignal: signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof FloodgateError) throw error;
      const failure = wireFailureOf(error);
      if (failure !== undefined) throw failure;
      const reason = error instanceof Error ? error.message : String(error);
      throw new WireFailure('protocol', `the AI SDK could not read the answer: ${reason}`, {
        isTransient: false,
        cause: error,
      });
    }
  }
}

function answerOf({ text, finishReason, usage: { outputTokens } }: GeneratedText, maxNewTokens: number): TargetAnswer {
  if (finishReason === 'content-filter') return refusedAnswer('content filter of the provider');
  const isCut = finishReason === 'length';
  if (text === '' && isCut)
    return failedAnswer(`the answer holds no text yet: its ${maxNewTokens} tokens (decode.maxNewTokens) were used up`);
  if (finishReason === 'error') return failedAnswer('the provider ended the answer with an error');
  const usage =
    outputTokens === undefined
      ? { calls: 1, tokens: estimateTokens(text, maxNewTokens), isEstimated: true as const }
      : { calls: 1, tokens: Math.max(1, outputTokens) };
  return { kind: 'text', text, truncated: isCut, usage };
}

/** The answer that a failure is; undefined where it ends the work. */
function answerOfFailure(error: WireFailure, { refusedStatus }: AiSdkConfig): TargetAnswer | undefined {
  if (isContentRefusal(error)) return refusedAnswer('content policy of the provider');
  if (refusedStatus.includes(error.status ?? 0)) return refusedAnswer(`status ${error.status} of a filter`);
  return isLasting(error) ? undefined : failedAnswer(error.message);
}

async function answerAll(
  { model, config, seed }: { readonly model: SdkModel; readonly config: AiSdkConfig; readonly seed: number },
  request: TargetRequest,
  { samples, responses, decode, signal, limiter, arrived }: Answering,
): Promise<TargetAnswer[]> {
  const reason = tooLong(request.attack);
  if (reason !== undefined) return repeated(failedAnswer(reason, 0), responses);
  const one = async (sample: number): Promise<TargetAnswer> => {
    try {
      const drawn = () => model.generate(request.attack, decode, seedOf(seed, request, sample), signal);
      return answerOf(await limiter.run(drawn, signal), decode.maxNewTokens);
    } catch (error) {
      if (!(error instanceof WireFailure)) throw error;
      const answer = answerOfFailure(error, config);
      if (answer !== undefined) return answer;
      throw wireError(error, askedAddress(config, model.call?.url ?? new URL('http://unknown')));
    }
  };
  return Promise.all(samples.map(async (sample, at) => arrived(await one(sample), at)));
}

/** One harmless exchange. @throws FloodgateError `target` when no text comes back. */
async function probe(
  config: AiSdkConfig,
  loaded: LoadedProvider,
  settings: Record<string, unknown>,
  { signal, seed }: Pick<TargetHost, 'signal' | 'seed'>,
): Promise<TargetCheck & { readonly urls: readonly URL[]; readonly warnings: readonly string[] }> {
  const { client, checker } = openWire('target', config);
  const timed = createTimedCaller(checker);
  const model = new SdkModel(config, loaded, settings, timed);
  try {
    const generated = await model.generate(HARMLESS_PROMPT, config.decode, seed, signal);
    const answer = answerOf(generated, config.decode.maxNewTokens);
    if (answer.kind === 'failed') throw new WireFailure('protocol', answer.reason, { isTransient: false });
    const request = model.call && shownRequest(model.call);
    const urls = model.call === undefined ? [] : [model.call.url];
    const warnings = (generated.warnings ?? []).map(
      ({ feature = 'a setting', details, message }) => details ?? message ?? `${feature} is ignored`,
    );
    return { request, answer, ms: timed.ms, stopReason: generated.finishReason, abilities: {}, urls, warnings };
  } catch (error) {
    if (!(error instanceof WireFailure)) throw interruptedUnless(signal, error, 'target');
    throw wireError(error, askedAddress(config, model.call?.url ?? new URL('http://unknown')), model.call);
  } finally {
    await client.close();
  }
}

async function plan(config: AiSdkConfig, host: TargetHost): Promise<PlannedTarget> {
  const loaded = await loadProvider(config.provider);
  const settings = settingsOf(config);
  const { answer, urls, warnings } = await probe(config, loaded, settings, host);
  const { kind, provider, model: name, systemPrompt = null } = config;
  const facts = {
    ...NO_MODEL_FACTS,
    kind,
    model: `${provider}/${name}`,
    systemPrompt,
    template: 'chat' as const,
    warnings: [...wireWarnings(config), ...warnings, ...countWarnings('provider', answer)],
  };
  const hosts = contactedHosts(urls, config);
  const open = async () => {
    const { client, caller, limiter } = openWire(facts.model, config);
    const model = new SdkModel(config, loaded, settings, caller);
    const target = createRemoteTarget({
      name: facts.model,
      limiter,
      rateLimited: () => caller.rateLimited,
      answer: (request, answering) => answerAll({ model, config, seed: host.seed }, request, answering),
      release: () => client.close(),
    });
    return { target, facts, hosts, checkpoint: undefined, close: () => target.close() };
  };
  return { facts, hosts, open, check: (signal) => probe(config, loaded, settings, { signal, seed: host.seed }) };
}

/** A model of a provider that has an interface of its own. */
export const aiSdkKind = createTargetKind({
  name: 'ai-sdk',
  describe: 'a model of Anthropic, Google, Bedrock, Azure or Mistral, through the AI SDK',
  fields,
  modelKeys: ['model'],
  pathKeys: HTTP_PATH_KEYS,
  plan,
});
