import { FloodgateError } from '../base/errors.ts';
import { createHttpClient, type HttpCall, type HttpClient } from '../wire/http-client.ts';
import { compileTemplate } from '../wire/http-template.ts';
import { bearerHeader, readEnvironmentValue } from '../wire/secrets.ts';
import { excerpt, isLasting, shownAddress, WireFailure } from '../wire/wire-failure.ts';
import { methodUrl, webAddress } from '../wire/wire-fields.ts';
import {
  type FoundAnswer,
  findAnswer,
  findTokens,
  jsonOf,
  type RequestShape,
  shapesOfError,
  USUAL_SHAPES,
} from './endpoint-shapes.ts';
import { parseEventStream } from './event-stream.ts';
import { modelList } from './openai-kind.ts';
import { HARMLESS_PROMPT } from './target-kind.ts';
import { type AskedAddress, wireError } from './wire-errors.ts';

/** An endpoint of which only the address is known. */
export interface EndpointQuestion {
  readonly url: string;
  /** Environment variable that holds the key, sent as a bearer token. */
  readonly apiKeyEnv?: string | undefined;
  /** Further headers: the value of each is the name of an environment variable. */
  readonly headers: Readonly<Record<string, string>>;
  /** The model to ask, where the server has several. */
  readonly model?: string | undefined;
  readonly signal: AbortSignal;
}

/** The models of an OpenAI-compatible server, beside the one that is the target. */
export interface ServedModels {
  readonly baseUrl: string;
  readonly apiKeyEnv?: string | undefined;
  readonly others: readonly string[];
}

export interface FoundEndpoint {
  /** Sections `target` of a config, the likeliest first: a server may refuse a key that the first one sends. */
  readonly candidates: readonly Readonly<Record<string, unknown>>[];
  /** The finding in one line. */
  readonly found: string;
  /** Requests that it took. */
  readonly requests: number;
  /** Absent for an app, and for a server that wants a header which judges cannot send. */
  readonly served?: ServedModels;
}

/** For one request: a model on a slow machine needs its time. */
const TIMEOUT_MS = 60_000;

interface Reply {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

/** Asks one host, counts its requests, and takes any status for a reply. */
class Asker {
  readonly asked: AskedAddress;
  requests = 0;
  private readonly client: HttpClient;
  private readonly question: EndpointQuestion;
  private readonly headers: Readonly<Record<string, string>>;

  constructor(client: HttpClient, question: EndpointQuestion) {
    this.client = client;
    this.question = question;
    const { apiKeyEnv, headers, url } = question;
    const others = Object.entries(headers).map(([name, variable]) => [
      name.toLowerCase(),
      readEnvironmentValue(variable, `--header ${name}`),
    ]);
    this.headers = { ...bearerHeader(apiKeyEnv, '--api-key-env'), ...Object.fromEntries(others) };
    this.asked = {
      key: '--target',
      url: new URL(url),
      keyHint:
        'name the environment variable of its key with --api-key-env, or a header with --header NAME=VARIABLE; a login is written by hand, as target.before: docs/targets.md',
      notFoundHint: 'give the whole address of the chat method with --target',
      requestHint: 'describe the request in target.body by hand: docs/targets.md',
    };
  }

  /** @throws FloodgateError `target` when nobody answers, a key is missing, or the reply is a redirect. */
  async send(call: Omit<HttpCall, 'headers'> & { readonly contentType?: string | undefined }): Promise<Reply> {
    const { contentType, ...rest } = call;
    const type = contentType === undefined ? {} : { 'content-type': contentType };
    this.requests++;
    try {
      return await this.client.send({ ...rest, headers: { ...type, ...this.headers } }, this.question.signal);
    } catch (error) {
      if (this.question.signal.aborted) throw new FloodgateError('interrupted', 'init: interrupted');
      if (!(error instanceof WireFailure)) throw error;
      const { status, body = '' } = error;
      const isReply = status !== undefined && (!isLasting(error) || status === 404 || status === 405) && status !== 429;
      if (isReply) return { status, contentType: '', text: body };
      throw wireError(error, { ...this.asked, url: call.url });
    }
  }
}

/** Addresses at which an OpenAI-compatible API may begin. */
function openAiBases(text: string): string[] {
  const url = new URL(text);
  const path = url.pathname.replace(/\/(?:chat\/completions|completions|models)?\/*$/, '').replace(/\/+$/, '');
  const at = (pathname: string): string => {
    const base = new URL(url);
    base.pathname = pathname;
    return base.href.replace(/\/$/, '');
  };
  return /\/v\d+$/.test(path) ? [at(path)] : [at(`${path}/v1`), at(path)];
}

/** Names of models that hold no conversation. */
const NO_CHAT = /embed|rerank|whisper|tts|dall-?e|moderation|guard|shield-?gemma|image|audio|transcri/i;

/** The keys that some servers refuse, from none to all. */
const VARIATIONS = [
  {},
  { sendSeed: false },
  { tokenLimit: 'max_completion_tokens' },
  { sendSeed: false, tokenLimit: 'max_completion_tokens' },
  { api: 'completions' },
];

async function probeOpenAi(asker: Asker, question: EndpointQuestion): Promise<FoundEndpoint | undefined> {
  for (const baseUrl of openAiBases(question.url)) {
    const reply = await asker.send({ method: 'GET', url: methodUrl(baseUrl, 'models') });
    const models = modelList.safeParse(jsonOf(reply.text)).data?.data.map(({ id }) => id) ?? [];
    if (reply.status >= 300 || models.length === 0) continue;
    const { apiKeyEnv, headers } = question;
    const model = question.model ?? models.find((id) => !NO_CHAT.test(id)) ?? models[0];
    const keys = { ...(apiKeyEnv === undefined ? {} : { apiKeyEnv }), ...headersOf(headers) };
    const others = models.length === 1 ? '' : `; it has ${models.length}: --model names another`;
    return {
      candidates: VARIATIONS.map((change) => ({ kind: 'openai', baseUrl, model, ...keys, ...change })),
      found: `an OpenAI-compatible server with the model ${model}${others}`,
      requests: asker.requests,
      ...(Object.keys(headers).length > 0
        ? {}
        : { served: { baseUrl, apiKeyEnv, others: models.filter((id) => id !== model) } }),
    };
  }
  return undefined;
}

function headersOf(headers: Readonly<Record<string, string>>) {
  return Object.keys(headers).length === 0 ? {} : { headers };
}

/** Paths that chat apps usually have, tried where the address names none. */
const USUAL_PATHS = ['', 'chat', 'api/chat', 'message', 'api/message', 'ask', 'api/ask', 'generate', 'api/generate'];

function addressesOf(text: string): string[] {
  const url = new URL(text);
  if (url.pathname !== '/' || url.search !== '') return [text];
  return USUAL_PATHS.map((path) => new URL(`/${path}`, url).href);
}

/** Most requests to one address: stops an app whose errors name ever new fields. */
const MAX_TRIES = 30;

/** Statuses of a server that has no such method. */
const NO_METHOD = new Set([404, 405, 501]);

type FoundApp = Readonly<Record<string, unknown>>;

/** The answer in a reply, with the keys of the config that find it; undefined where nothing looks like one. */
function readAnswer({ status, contentType, text }: Reply): (FoundAnswer & { readonly keys: FoundApp }) | undefined {
  if (status >= 300 || /html/i.test(contentType) || text.trim() === '') return undefined;
  if (/event-stream/i.test(contentType)) return readEvents(text);
  const document = jsonOf(text);
  if (document === undefined || typeof document === 'string') return { path: undefined, text, keys: {} };
  const found = findAnswer(document, HARMLESS_PROMPT);
  const tokens = findTokens(document);
  return found && { ...found, keys: { answer: found.path, ...(tokens === undefined ? {} : { tokens }) } };
}

function readEvents(text: string): ReturnType<typeof readAnswer> {
  const events = parseEventStream(text);
  const found = events.map(({ data }) => findAnswer(jsonOf(data), HARMLESS_PROMPT)?.path);
  const path = found.find((each) => each !== undefined);
  if (path !== undefined) return { path, text, keys: { sse: path } };
  return events.some(({ data }) => jsonOf(data) === undefined) ? { path: '$', text, keys: { sse: '$' } } : undefined;
}

/** Whether the app answers the same to a request without a message. */
async function isIgnored(asker: Asker, url: URL, answer: FoundAnswer): Promise<boolean> {
  const reply = await asker.send({ method: 'POST', url, body: '{}', contentType: 'application/json' });
  return readAnswer(reply)?.text === answer.text;
}

function fill(url: string, json?: RequestShape) {
  const draw = { attack: HARMLESS_PROMPT, id: 'check-0', turn: 1, seed: 1, maxTokens: 64, temperature: 0.7 };
  return compileTemplate({ url, ...(json === undefined ? {} : { body: { json } }) })(draw);
}

/** The last reply that was no answer: the app may say in it what it expects. */
interface Trial {
  said: string | undefined;
  readonly asker: Asker;
}

/** Sends the usual bodies to one address. */
async function tryBodies(trial: Trial, url: string): Promise<FoundApp | undefined> {
  const { asker } = trial;
  let queue = [...USUAL_SHAPES];
  const tried = new Set<string>();
  let ignored: FoundApp | undefined;
  for (let shape = queue.shift(); shape !== undefined && tried.size < MAX_TRIES; shape = queue.shift()) {
    const key = JSON.stringify(shape);
    if (tried.has(key)) continue;
    tried.add(key);
    const filled = fill(url, shape);
    const reply = await asker.send({ method: 'POST', ...filled });
    if (NO_METHOD.has(reply.status) && tried.size === 1) return undefined;
    const answer = readAnswer(reply);
    if (answer === undefined) {
      trial.said = `${reply.status}: ${excerpt(reply.text)}`;
      queue = [...shapesOfError(reply.text), ...queue];
      continue;
    }
    const app = { url, body: { json: shape }, ...answer.keys };
    if (!(await isIgnored(asker, filled.url, answer))) return app;
    ignored ??= app;
  }
  return ignored;
}

const QUERY_FIELDS = ['q', 'message', 'query', 'prompt', 'question', 'text', 'input'];

/** Sends the usual queries to one address. */
async function tryQueries({ asker }: Trial, url: string): Promise<FoundApp | undefined> {
  for (const name of QUERY_FIELDS) {
    const asked = `${url}${url.includes('?') ? '&' : '?'}${name}={{attack}}`;
    const reply = await asker.send({ method: 'GET', url: fill(asked).url });
    if (NO_METHOD.has(reply.status)) return undefined;
    const answer = readAnswer(reply);
    if (answer !== undefined) return { url: asked, method: 'GET', ...answer.keys };
  }
  return undefined;
}

async function probeApp(asker: Asker, question: EndpointQuestion): Promise<FoundEndpoint> {
  const { apiKeyEnv, headers } = question;
  const key = apiKeyEnv === undefined ? {} : { Authorization: `Bearer {{env.${apiKeyEnv}}}` };
  const trial: Trial = { asker, said: undefined };
  for (const url of addressesOf(question.url)) {
    const app = (await tryBodies(trial, url)) ?? (await tryQueries(trial, url));
    if (app === undefined) continue;
    const found = `an app that answers ${app.method ?? 'POST'} ${shownAddress(new URL(url))}`;
    const candidate = { kind: 'http', ...app, ...headersOf({ ...key, ...headers }) };
    return { candidates: [candidate], found, requests: asker.requests };
  }
  const said = trial.said === undefined ? 'it has no method there' : `the last reply was ${trial.said}`;
  throw new FloodgateError(
    'target',
    `--target: got ${shownAddress(asker.asked.url)}: ${asker.requests} usual requests brought no answer; ${said}`,
    {
      hint: 'give the whole address of the chat method, or write target.body and target.answer by hand: docs/targets.md',
    },
  );
}

/**
 * Finds out how an endpoint is asked, by harmless requests to its host and no other. @throws FloodgateError `target`
 * when nobody answers, a key is missing, or no usual request brings an answer; `usage` for a bad address.
 */
export async function findEndpoint(question: EndpointQuestion): Promise<FoundEndpoint> {
  const checked = webAddress.safeParse(question.url);
  if (!checked.success)
    throw new FloodgateError('usage', `--target: got ${question.url}, it ${checked.error.issues[0]?.message}`, {
      hint: 'for example --target http://127.0.0.1:3000/chat',
    });
  const client = createHttpClient({ timeoutMs: TIMEOUT_MS, connections: 1 });
  try {
    const asker = new Asker(client, question);
    return (await probeOpenAi(asker, question)) ?? (await probeApp(asker, question));
  } finally {
    await client.close();
  }
}
