import { FloodgateError } from '../base/errors.ts';
import type { Caller } from '../wire/caller.ts';
import type { HttpCall, HttpReply } from '../wire/http-client.ts';
import { excerpt, WireFailure } from '../wire/wire-failure.ts';

/** The AI SDK and its provider packages, which are loaded only where a config names them. */

interface ProviderPackage {
  readonly package: string;
  /** The last version that runs on Node 20. */
  readonly major: number;
  /** The function of the package that makes a provider. */
  readonly create: string;
  /** Where its key usually is. */
  readonly keyVariable: string;
}

export const PROVIDERS = {
  anthropic: { package: '@ai-sdk/anthropic', major: 3, create: 'createAnthropic', keyVariable: 'ANTHROPIC_API_KEY' },
  google: {
    package: '@ai-sdk/google',
    major: 3,
    create: 'createGoogleGenerativeAI',
    keyVariable: 'GOOGLE_GENERATIVE_AI_API_KEY',
  },
  bedrock: {
    package: '@ai-sdk/amazon-bedrock',
    major: 4,
    create: 'createAmazonBedrock',
    keyVariable: 'AWS_BEARER_TOKEN_BEDROCK',
  },
  azure: { package: '@ai-sdk/azure', major: 3, create: 'createAzure', keyVariable: 'AZURE_API_KEY' },
  mistral: { package: '@ai-sdk/mistral', major: 3, create: 'createMistral', keyVariable: 'MISTRAL_API_KEY' },
} as const satisfies Readonly<Record<string, ProviderPackage>>;

export type ProviderName = keyof typeof PROVIDERS;
export const PROVIDER_NAMES = Object.keys(PROVIDERS) as [ProviderName, ...ProviderName[]];

const SDK = 'ai';
const SDK_MAJOR = 6;

export function installCommand({ package: name, major }: Pick<ProviderPackage, 'package' | 'major'>): string {
  return `npm install ${SDK}@${SDK_MAJOR} ${name}@${major}`;
}

/** The part of `generateText` that is used. */
export interface GenerateTextOptions {
  readonly model: unknown;
  readonly system?: string;
  readonly prompt: string;
  readonly maxOutputTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK?: number;
  readonly seed?: number;
  readonly providerOptions?: Readonly<Record<string, unknown>>;
  readonly maxRetries: 0;
  readonly abortSignal: AbortSignal;
}

export interface GeneratedText {
  readonly text: string;
  readonly finishReason: string;
  readonly usage: { readonly outputTokens?: number | undefined };
  /** Settings that the model ignores. */
  readonly warnings?: readonly { readonly feature?: string; readonly details?: string; readonly message?: string }[];
}

type GenerateText = (options: GenerateTextOptions) => Promise<GeneratedText>;

/** `fetch` as providers call it. */
export type ProviderFetch = (input: URL | string, init: RequestInit) => Promise<Response>;

export interface LoadedProvider {
  readonly generateText: GenerateText;
  /** The model over a `fetch` of ours. @throws Error for settings that the package refuses. */
  model(settings: Readonly<Record<string, unknown>>, fetch: ProviderFetch, name: string): unknown;
}

type ModelMaker = (options: object) => (name: string) => unknown;

/** Imports a package by name. @throws Error as Node does. */
export type PackageLoader = (name: string) => Promise<Readonly<Record<string, unknown>>>;

const importPackage: PackageLoader = (name) => import(name) as Promise<Readonly<Record<string, unknown>>>;

/** @throws FloodgateError `target` with the command that installs a package that is missing. */
export async function loadProvider(name: ProviderName, load: PackageLoader = importPackage): Promise<LoadedProvider> {
  const provider = PROVIDERS[name];
  const [sdk, own] = await Promise.all([SDK, provider.package].map((each) => loadPackage(each, name, load)));
  const generateText = sdk?.generateText;
  const create = own?.[provider.create];
  if (typeof generateText !== 'function' || typeof create !== 'function')
    throw new FloodgateError('target', `target.provider: ${provider.package} is of a version that is not known`, {
      hint: installCommand(provider),
    });
  // It would print them between the lines of the progress; a run has them as warnings of its target.
  (globalThis as { AI_SDK_LOG_WARNINGS?: boolean }).AI_SDK_LOG_WARNINGS = false;
  return {
    generateText: generateText as GenerateText,
    model: (settings, fetch, model) => (create as ModelMaker)({ ...settings, fetch })(model),
  };
}

async function loadPackage(name: string, provider: ProviderName, load: PackageLoader) {
  try {
    return await load(name);
  } catch (cause) {
    const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? cause.name) : String(cause);
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const what = code === 'ERR_MODULE_NOT_FOUND' ? 'it is not installed' : `it cannot be loaded: ${reason}`;
    throw new FloodgateError('target', `target.provider: ${provider} needs the package ${name}; ${what}`, {
      hint: installCommand(PROVIDERS[provider]),
      cause,
    });
  }
}

/** A reply of JSON. A gateway's page of HTML may pass, and is asked for again. */
function readJson(reply: HttpReply): HttpReply {
  try {
    JSON.parse(reply.text);
    return reply;
  } catch (cause) {
    const { status, text } = reply;
    throw new WireFailure('protocol', `answered ${status} without JSON: ${excerpt(text)}`, {
      isTransient: true,
      cause,
      body: text,
    });
  }
}

/**
 * A `fetch` over our own calls, so that limits, retries, secrets and proxies are those of every other target. A failed
 * call throws its `WireFailure`.
 *
 * @param sent told each request. @param maxTokens most tokens of an answer, where they are limited by the minute.
 */
export function createProviderFetch(
  caller: Caller,
  extraHeaders: Readonly<Record<string, string>>,
  { sent, maxTokens }: { readonly sent: (call: HttpCall) => void; readonly maxTokens: number },
): ProviderFetch {
  return async (input, { method = 'GET', headers, body, signal }) => {
    if (typeof body !== 'string') throw new Error('a provider sent a body that is no text');
    const call = {
      method,
      url: new URL(input),
      headers: { ...Object.fromEntries(new Headers(headers)), ...extraHeaders },
      body,
      maxTokens,
    };
    sent(call);
    const reply = await caller.call(call, readJson, signal ?? new AbortController().signal);
    return new Response(reply.text, { status: reply.status, headers: { 'content-type': 'application/json' } });
  };
}

/** The failed call behind an error of the SDK; undefined where there is none. */
export function wireFailureOf(error: unknown): WireFailure | undefined {
  let current = error;
  for (let depth = 0; depth < 5 && current instanceof Error; depth++) {
    if (current instanceof WireFailure) return current;
    current = current.cause;
  }
  return undefined;
}
