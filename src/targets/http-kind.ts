import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { FloodgateError, type HeldSecrets, hideSecretsInUse, holdSecrets } from '../base/errors.ts';
import { type Caller, createTimedCaller } from '../wire/caller.ts';
import type { HttpCall } from '../wire/http-client.ts';
import { compileTemplate, type Draw, type FilledRequest, OF_TARGETS } from '../wire/http-template.ts';
import { parseJsonPath } from '../wire/json-path.ts';
import { isLasting, WireFailure } from '../wire/wire-failure.ts';
import { httpMethod, webAddress } from '../wire/wire-fields.ts';
import { type ReplyPaths, readHttpReply } from './http-reply.ts';
import { callOf, type Session, SessionKeeper } from './http-session.ts';
import { type Before, beforeField, compileBefore, requestBody, templateHeaders } from './http-steps.ts';
import {
  contactedHosts,
  countWarnings,
  HTTP_PATH_KEYS,
  httpFields,
  interruptedUnless,
  openWire,
  tooLong,
  wireWarnings,
} from './remote-fields.ts';
import { type Answering, createRemoteTarget, failedAnswer, refusedAnswer, seedOf } from './remote-target.ts';
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
import { type AskedAddress, toWireError } from './wire-errors.ts';

const fields = {
  url: webAddress.describe('address of each call; may hold {{attack}}'),
  method: httpMethod,
  body: requestBody.describe(
    'placeholders: {{attack}}, {{id}}, {{turn}}, {{seed}}, {{maxTokens}}, {{temperature}}, {{env.NAME}}, values taken before',
  ),
  before: beforeField,
  answer: line.optional().describe('JSONPath of the text in the answer, e.g. $.reply; the whole body when absent'),
  sse: line
    .optional()
    .describe('for an answer of server-sent events, in place of answer: JSONPath of the piece of text in each event'),
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
  headers: templateHeaders.describe(
    'further headers: each value is the name of an environment variable, or a text with placeholders, e.g. Bearer {{token}}',
  ),
};

type HttpConfig = z.output<z.ZodObject<typeof fields>> & Pick<TargetConfig, 'kind' | 'decode' | 'responses'>;

/** How an app is asked and how its answers are read. */
interface App {
  readonly config: HttpConfig;
  readonly before: Before;
  readonly fill: (draw: Draw) => FilledRequest;
  readonly paths: ReplyPaths;
  readonly asked: AskedAddress;
}

/** @throws FloodgateError `config` for a template, a path or a variable that is wrong. */
function appOf(config: HttpConfig): App {
  const path = (text: string | undefined, key: string) => (text === undefined ? undefined : parseJsonPath(text, key));
  const holders = Object.values(config.headers);
  const before = compileBefore(config.before);
  if (config.answer !== undefined && config.sse !== undefined)
    throw new FloodgateError('config', 'target: got answer and sse, expected one of them');
  return {
    config,
    before,
    fill: compileTemplate(config, { ...OF_TARGETS, names: [...OF_TARGETS.names, ...before.names] }),
    paths: {
      answer: path(config.answer, 'target.answer'),
      sse: path(config.sse, 'target.sse'),
      tokens: path(config.tokens, 'target.tokens'),
      refusedPath: path(config.refusedWhen.path, 'target.refusedWhen.path'),
      refusedTexts: config.refusedWhen.contains,
    },
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

/** An app over one wire. */
interface AskedApp extends App {
  readonly caller: Caller;
  readonly session: SessionKeeper;
  /** Told each call of an attack before it is sent. */
  readonly sent?: (call: HttpCall) => void;
}

async function askInSession(asked: AskedApp, draw: Draw, own: Session, signal: AbortSignal): Promise<TargetAnswer> {
  const { config, caller, paths, sent } = asked;
  const filled = callOf(config.method, asked.fill({ ...draw, ...own.taken }), own);
  const call: HttpCall = { ...filled, maxTokens: draw.maxTokens };
  const reason = tooLong(`${call.url.href}${call.body ?? ''}`);
  if (reason !== undefined) return failedAnswer(reason, 0);
  sent?.(call);
  try {
    return await caller.call(call, (reply) => readHttpReply(paths, reply, draw.maxTokens), signal);
  } catch (error) {
    const { status: refusals } = config.refusedWhen;
    if (!(error instanceof WireFailure) || error.status === undefined || !refusals.includes(error.status)) throw error;
    return refusedAnswer(`the app refused: status ${error.status}`);
  }
}

/** One attack. A session that has ended is renewed once. @param held takes the secrets of this call. */
async function askHolding(asked: AskedApp, draw: Draw, signal: AbortSignal, held: HeldSecrets): Promise<TargetAnswer> {
  const { session } = asked;
  for (let isRenewed = false; ; isRenewed = true) {
    const { shared, session: ofRun } = await session.join(draw, signal);
    try {
      const own = await session.forCall(ofRun, draw, { signal, held, isRenewed });
      const answer = await askInSession(asked, draw, own, signal);
      return answer.kind === 'text' ? { ...answer, text: hideSecretsInUse(answer.text) } : answer;
    } catch (error) {
      const hasEnded = error instanceof WireFailure && error.status === 401;
      if (!hasEnded || isRenewed || !session.canRenew) throw error;
      session.drop(shared);
    }
  }
}

/** As `askHolding`; its secrets end with the answer, or with the error that was made of it. */
async function ask(asked: AskedApp, draw: Draw, signal: AbortSignal): Promise<TargetAnswer> {
  const held = holdSecrets();
  try {
    return await askHolding(asked, draw, signal, held);
  } finally {
    held.release();
  }
}

/** The attack with what else a template may name; `id` names the call by its random stream. */
function drawOf(request: TargetRequest, response: number, seed: number, { decode }: Pick<Answering, 'decode'>): Draw {
  const { maxNewTokens: maxTokens, temperature } = decode;
  const own = seedOf(seed, request, response);
  const id = `${request.streamName.join('-')}-${response}-${own.toString(36)}`;
  return { attack: request.attack, id, turn: 1, seed: own, maxTokens, temperature };
}

async function answerAll(
  asked: AskedApp,
  request: TargetRequest,
  answering: Answering & { readonly seed: number },
): Promise<TargetAnswer[]> {
  const { samples, limiter, signal, seed, arrived } = answering;
  const one = async (response: number): Promise<TargetAnswer> => {
    const draw = drawOf(request, response, seed, answering);
    try {
      return await limiter.run(() => ask(asked, draw, signal), signal);
    } catch (error) {
      if (!(error instanceof WireFailure)) throw error;
      if (isLasting(error)) throw toWireError(error, asked.asked);
      return failedAnswer(error.message);
    }
  };
  return Promise.all(samples.map(async (sample, at) => arrived(await one(sample), at)));
}

/** One harmless exchange. @throws FloodgateError `target` when no text comes back. */
async function probe(app: App, { signal, seed }: Pick<TargetHost, 'signal' | 'seed'>): Promise<TargetCheck> {
  const { client, checker } = openWire('target', app.config);
  const draw = drawOf({ attack: HARMLESS_PROMPT, streamName: ['check'] }, 0, seed, app.config);
  const held = holdSecrets();
  let call: HttpCall | undefined;
  const timed = createTimedCaller(checker);
  const session = new SessionKeeper(app.before, timed);
  const sent = (each: HttpCall): void => {
    call = each;
  };
  try {
    const answer = await askHolding({ ...app, caller: timed, session, sent }, draw, signal, held);
    const request = call && shownRequest(call);
    return { request, answer, ms: timed.ms, stopReason: undefined, abilities: {} };
  } catch (error) {
    const place = session.placeOf(error) ?? { asked: app.asked, call };
    throw toWireError(interruptedUnless(signal, error, 'target'), place.asked, place.call);
  } finally {
    held.release();
    await client.close();
  }
}

/** Every host that is asked, with its port. */
function hostsOf({ asked, before, config }: App): string[] {
  return contactedHosts([asked.url, ...before.steps.map((step) => step.asked.url)], config);
}

async function plan(config: HttpConfig, host: TargetHost): Promise<PlannedTarget> {
  const app = appOf(config);
  const { answer } = await probe(app, host);
  const { host: address } = app.asked.url;
  const facts = {
    ...NO_MODEL_FACTS,
    kind: config.kind,
    model: `the app ${app.asked.url.pathname}`,
    warnings: [...wireWarnings(config), ...countWarnings('app', answer)],
  };
  const hosts = hostsOf(app);
  const open = async () => {
    const name = `http/${address}`;
    const { client, caller, limiter } = openWire(name, config);
    const asked = { ...app, caller, session: new SessionKeeper(app.before, caller) };
    const target = createRemoteTarget({
      name,
      limiter,
      rateLimited: () => caller.rateLimited ?? 0,
      answer: (request, answering) => answerAll(asked, request, { ...answering, seed: host.seed }),
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
  pathKeys: HTTP_PATH_KEYS,
  plan,
});
