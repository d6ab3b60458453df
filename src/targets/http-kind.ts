import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import type { Caller } from '../wire/caller.ts';
import type { HttpCall, HttpReply } from '../wire/http-client.ts';
import { excerpt, excerptOfValue, WireFailure } from '../wire/wire-failure.ts';
import { webAddress } from '../wire/wire-fields.ts';
import { compileTemplate, type Draw, type FilledRequest } from './http-template.ts';
import { type JsonPath, parseJsonPath, pathsOfTexts } from './json-path.ts';
import { estimateTokens } from './openai-protocol.ts';
import { httpFields, interruptedUnless, openWire, readHeaders, tooLong } from './remote-fields.ts';
import { type Answering, createRemoteTarget, failedAnswer, seedOf } from './remote-target.ts';
import { shownRequest } from './shown-request.ts';
import type { TargetAnswer, TargetRequest } from './target.ts';
import {
  createTargetKind,
  HARMLESS_PROMPT,
  NO_MODEL_FACTS,
  type PlannedTarget,
  type TargetCheck,
  type TargetConfig,
  type TargetHost,
} from './target-kind.ts';
import { type AskedAddress, isLasting, toWireError } from './wire-errors.ts';

const fields = {
  url: webAddress.describe('address of each call; may hold {{attack}}'),
  method: z.enum(['POST', 'GET', 'PUT', 'PATCH']).default('POST'),
  body: z
    .strictObject({
      json: z
        .unknown()
        .optional()
        .describe('the body as YAML or as a text of JSON, with {{attack}} in one of its texts'),
      form: z
        .record(z.string(), z.string())
        .optional()
        .describe('the fields of a form, with {{attack}} in one of them'),
    })
    .refine(({ json, form }) => json === undefined || form === undefined, 'must hold json or form, not both')
    .optional()
    .describe('placeholders: {{attack}}, {{id}}, {{seed}}, {{maxTokens}}, {{temperature}}, {{env.NAME}}'),
  answer: line.optional().describe('JSONPath of the text in the answer, e.g. $.reply; the whole body when absent'),
  tokens: line.optional().describe('JSONPath of the number of tokens in the answer; estimated when absent'),
  refusedWhen: z
    .strictObject({
      status: z.array(z.number().int().min(200).max(599)).default([]).describe('the answer has one of these statuses'),
      path: line.optional().describe('JSONPath that finds something other than false, null, 0 or an empty text'),
      contains: z
        .array(z.string().min(1))
        .default([])
        .describe('the text contains one of these, in upper or lower case'),
    })
    .prefault({})
    .describe('answers that are a refusal by the app itself: safe, and counted apart'),
  ...httpFields,
};

type HttpConfig = z.output<z.ZodObject<typeof fields>> & Pick<TargetConfig, 'kind' | 'decode' | 'responses'>;

/** How an app is asked and how its answers are read. */
interface App {
  readonly config: HttpConfig;
  readonly fill: (draw: Draw) => FilledRequest;
  readonly headers: Readonly<Record<string, string>>;
  readonly answer: JsonPath | undefined;
  readonly tokens: JsonPath | undefined;
  readonly refusedPath: JsonPath | undefined;
  readonly asked: AskedAddress;
}

/** @throws FloodgateError `config` for a template, a path or a variable that is wrong. */
function appOf(config: HttpConfig): App {
  const path = (text: string | undefined, key: string) => (text === undefined ? undefined : parseJsonPath(text, key));
  const holders = Object.values(config.headers);
  return {
    config,
    fill: compileTemplate(config),
    headers: readHeaders(config.headers, 'target.headers'),
    answer: path(config.answer, 'target.answer'),
    tokens: path(config.tokens, 'target.tokens'),
    refusedPath: path(config.refusedWhen.path, 'target.refusedWhen.path'),
    asked: {
      key: 'target.url',
      url: new URL(config.url.replaceAll(/[{}]/g, '')),
      keyHint:
        `${holders.length === 0 ? 'name the header that lets you in in target.headers' : `check ${holders.join(', ')}`}` +
        '; where this status is how the app refuses an attack, add it to target.refusedWhen.status',
      notFoundHint: 'check the path of target.url, and target.method',
      requestHint: 'check target.answer, and that the app accepts target.body as it is',
    },
  };
}

function callFor({ config, fill, headers }: App, draw: Draw): HttpCall {
  const { url, body, contentType } = fill(draw);
  const type = contentType === undefined ? {} : { 'content-type': contentType };
  return { method: config.method, url, headers: { ...type, ...headers }, body };
}

/** The JSON of a reply; undefined where no path needs it. */
function documentOf({ answer, tokens, refusedPath }: App, { text, contentType, status }: HttpReply): unknown {
  if (answer === undefined && tokens === undefined && refusedPath === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    const type = contentType === '' ? 'no content type' : contentType;
    throw new WireFailure('protocol', `answered ${status} with ${type}, expected JSON: ${excerpt(text)}`, {
      isTransient: true,
      cause,
    });
  }
}

function find(path: JsonPath, document: unknown): unknown {
  try {
    return path.first(document);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new WireFailure('protocol', `${path.text} cannot be looked for: ${reason}`, { isTransient: false, cause });
  }
}

function refusalOf({ config, refusedPath }: App, document: unknown, text: string): string | undefined {
  if (refusedPath !== undefined && find(refusedPath, document)) return `the app refused: ${refusedPath.text}`;
  const lower = text.toLowerCase();
  const found = config.refusedWhen.contains.find((part) => lower.includes(part.toLowerCase()));
  return found === undefined ? undefined : `the app refused: ${found}`;
}

/** The answer in a reply. @throws WireFailure for one in which the answer is not found. */
function readReply(app: App, reply: HttpReply, maxNewTokens: number): TargetAnswer {
  const document = documentOf(app, reply);
  const found = app.answer === undefined ? reply.text : find(app.answer, document);
  const text = typeof found === 'string' ? found : undefined;
  const refusal = refusalOf(app, document, text ?? '');
  if (refusal !== undefined) return { kind: 'refused', reason: refusal, usage: { calls: 1, tokens: 0 } };
  if (text === undefined) throw notFound(app.answer as JsonPath, found, document, reply);
  const counted = app.tokens === undefined ? undefined : find(app.tokens, document);
  const usage = Number.isSafeInteger(counted)
    ? { calls: 1, tokens: Math.max(1, counted as number) }
    : { calls: 1, tokens: estimateTokens(text), isEstimated: true as const };
  return { kind: 'text', text, truncated: usage.isEstimated !== true && usage.tokens >= maxNewTokens, usage };
}

function notFound(path: JsonPath, found: unknown, document: unknown, { text }: HttpReply): WireFailure {
  const what = found === undefined ? 'finds nothing' : `finds ${excerptOfValue(found)}, expected a text`;
  const paths = pathsOfTexts(document);
  const others = paths.length === 0 ? '' : `; texts are at ${paths.join(', ')}`;
  return new WireFailure('protocol', `target.answer: ${path.text} ${what} in ${excerpt(text)}${others}`, {
    isTransient: false,
  });
}

async function ask(app: App, caller: Caller, draw: Draw, signal: AbortSignal): Promise<TargetAnswer> {
  const call = callFor(app, draw);
  const reason = tooLong(`${call.url.href}${call.body ?? ''}`);
  if (reason !== undefined) return failedAnswer(reason, 0);
  try {
    return await caller.call(call, (reply) => readReply(app, reply, draw.maxTokens), signal);
  } catch (error) {
    const { status: refusals } = app.config.refusedWhen;
    if (!(error instanceof WireFailure) || error.status === undefined || !refusals.includes(error.status)) throw error;
    return { kind: 'refused', reason: `the app refused: status ${error.status}`, usage: { calls: 1, tokens: 0 } };
  }
}

/** The attack with what else a template may name; `id` names the call by its random stream. */
function drawOf(request: TargetRequest, response: number, seed: number, { decode }: Pick<Answering, 'decode'>): Draw {
  const { maxNewTokens: maxTokens, temperature } = decode;
  const own = seedOf(seed, request, response);
  const id = `${request.streamName.join('-')}-${response}-${own.toString(36)}`;
  return { attack: request.attack, id, seed: own, maxTokens, temperature };
}

async function answerAll(
  app: App,
  caller: Caller,
  request: TargetRequest,
  answering: Answering & { readonly seed: number },
): Promise<TargetAnswer[]> {
  const { responses, limiter, signal, seed } = answering;
  const one = async (response: number): Promise<TargetAnswer> => {
    const draw = drawOf(request, response, seed, answering);
    try {
      return await limiter.run(() => ask(app, caller, draw, signal), signal);
    } catch (error) {
      if (!(error instanceof WireFailure)) throw error;
      if (isLasting(error)) throw toWireError(error, app.asked);
      return failedAnswer(error.message);
    }
  };
  return Promise.all(Array.from({ length: responses }, (_, i) => one(i)));
}

/** One harmless exchange. @throws FloodgateError `target` when no text comes back. */
async function probe(app: App, { signal, seed }: Pick<TargetHost, 'signal' | 'seed'>): Promise<TargetCheck> {
  const { client, checker } = openWire('target', app.config);
  const draw = drawOf({ attack: HARMLESS_PROMPT, streamName: ['check'] }, 0, seed, app.config);
  const call = callFor(app, draw);
  let ms = 0;
  const timed: Caller = {
    call: (sent, read, stop) =>
      checker.call(
        sent,
        (reply) => {
          ms = reply.ms;
          return read(reply);
        },
        stop,
      ),
  };
  try {
    const answer = await ask(app, timed, draw, signal);
    return { request: shownRequest(call), answer, ms, stopReason: undefined, abilities: {} };
  } catch (error) {
    throw toWireError(interruptedUnless(signal, error, 'target'), app.asked);
  } finally {
    await client.close();
  }
}

async function plan(config: HttpConfig, host: TargetHost): Promise<PlannedTarget> {
  const app = appOf(config);
  const { answer } = await probe(app, host);
  const isGuess = answer?.kind === 'text' && answer.usage.isEstimated === true;
  const { host: address } = app.asked.url;
  const facts = {
    ...NO_MODEL_FACTS,
    kind: config.kind,
    model: `the app ${app.asked.url.pathname}`,
    warnings: isGuess ? ['its app counts no tokens: they are estimated from the text'] : [],
  };
  const hosts = [address];
  const open = async () => {
    const name = `http/${address}`;
    const { client, caller } = openWire(name, config);
    const target = createRemoteTarget({
      name,
      concurrency: config.concurrency,
      answer: (request, answering) => answerAll(app, caller, request, { ...answering, seed: host.seed }),
      release: () => client.close(),
    });
    return { target, facts, hosts, checkpoint: undefined, close: () => target.close() };
  };
  return { facts, hosts, open, check: (signal) => probe(app, { signal, seed: host.seed }) };
}

/** An app behind any HTTP interface. */
export const httpKind = createTargetKind({
  name: 'http',
  describe: 'an app behind any HTTP interface, by a template of its requests and a JSONPath of its answers',
  fields,
  plan,
});
