import { setMaxListeners } from 'node:events';
import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import type { ModelIdentity } from '../models/model-identity.ts';

import { breakAfter } from '../wire/breaker.ts';
import { type Caller, createCaller, DEFAULT_RETRY } from '../wire/caller.ts';
import { createHttpClient, type HttpCall, type HttpReply } from '../wire/http-client.ts';
import { createLimiter } from '../wire/limiter.ts';
import { bearerHeader } from '../wire/secrets.ts';
import { excerpt, isLasting, shownAddress, WireFailure } from '../wire/wire-failure.ts';
import { callSeconds, callsAtOnce, environmentName, KEY_WORDS, methodUrl, retriesField } from '../wire/wire-fields.ts';
import {
  createBatchedJudge,
  type Exchange,
  type Judge,
  judgeOwnName,
  type ScoreOptions,
  unscored,
  type Verdict,
} from './judge.ts';

/** Config keys of every judge that waits for answers from outside this process. */
export const waitFields = {
  timeoutSeconds: callSeconds.describe('for one call'),
  concurrency: callsAtOnce.describe('calls under way at once'),
};

/** Config keys of every judge that is asked over HTTP. */
export const callFields = {
  ...waitFields,
  retries: retriesField.describe('after a fault that may pass'),
};

/** Config keys of every judge behind an OpenAI-compatible server. */
export const serverFields = {
  baseUrl: z
    .url({ protocol: /^https?$/ })
    .max(2000)
    .refine((text) => !/^[^/]*\/\/[^/?#]*@|[?#]/.test(text), 'must hold no password and no query')
    .describe('address of the server up to and with /v1'),
  model: line.describe('as the server names it'),
  name: judgeOwnName,
  apiKeyEnv: environmentName.optional().describe(KEY_WORDS),
};

type CallConfig = z.output<z.ZodObject<typeof callFields>>;
type ServerConfig = z.output<z.ZodObject<typeof serverFields>>;

/** How one exchange is scored. */
export interface Scoring {
  readonly signal: AbortSignal;
  /** Runs `task` when there is room. */
  limited<T>(task: () => Promise<T>): Promise<T>;
}

export interface ConcurrentJudgeOptions {
  readonly name: string;
  readonly concurrency: number;
  readonly models?: readonly ModelIdentity[];
  /** One verdict. An error ends the work. */
  scoreOne(exchange: Exchange, scoring: Scoring): Promise<Verdict>;
  release?(): Promise<void>;
}

/** A judge that scores exchanges side by side. The first error stops the calls under way, and is thrown. */
export function createConcurrentJudge(options: ConcurrentJudgeOptions): Judge {
  const { name, concurrency, models, scoreOne, release } = options;
  const limiter = createLimiter(concurrency);
  const scoreBatch = async (
    batch: readonly Exchange[],
    { signal: outer, onCall }: ScoreOptions,
  ): Promise<Verdict[]> => {
    const controller = new AbortController();
    const { signal } = controller;
    const begun = async <T>(task: () => Promise<T>): Promise<T> => {
      onCall?.();
      return task();
    };
    setMaxListeners(0, signal); // one listener for each call under way
    const stop = (): void => controller.abort();
    outer?.addEventListener('abort', stop, { once: true });
    const scoring: Scoring = { signal, limited: (task) => limiter.run(() => begun(task), signal) };
    let first: unknown;
    const one = async (exchange: Exchange): Promise<Verdict> => {
      try {
        return await scoreOne(exchange, scoring);
      } catch (error) {
        first ??= error;
        stop();
        throw error;
      }
    };
    const settled = await Promise.allSettled(batch.map(one));
    outer?.removeEventListener('abort', stop);
    if (first === undefined) return settled.map((each) => (each as PromiseFulfilledResult<Verdict>).value);
    throw outer?.aborted ? new FloodgateError('interrupted', `${name}: interrupted`) : first;
  };
  const judge = createBatchedJudge({
    name,
    models,
    scoreBatch,
    ...(release === undefined ? {} : { release }),
  });
  return { ...judge, isConcurrent: true };
}

/** Sends one request and reads its reply. @throws WireFailure when the call failed for good. */
export type Ask = <T>(call: HttpCall, read: (reply: HttpReply) => T) => Promise<T>;

export interface WireJudgeOptions {
  readonly name: string;
  readonly config: CallConfig;
  /** The keys to check when the server refuses every call. */
  readonly hint: string;
  /** One verdict; a `WireFailure` that it throws makes the exchange unscored. */
  score(exchange: Exchange, ask: Ask): Promise<Verdict>;
}

/** Remembers the error that every further call would meet, for as long as calls of the same work wait. */
class Refusal {
  private error: FloodgateError | undefined;
  private waiting = 0;

  /** Runs one call, unless an earlier one was refused. `refusalOf` tells whether an error is for all calls. */
  async heed<T>(call: (check: () => void) => Promise<T>, refusalOf: (error: unknown) => FloodgateError | undefined) {
    this.waiting++;
    try {
      return await call(() => {
        if (this.error !== undefined) throw this.error;
      });
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      this.error = refusal;
      throw refusal;
    } finally {
      if (--this.waiting === 0) this.error = undefined;
    }
  }
}

/** Tokens that a model behind an OpenAI-compatible server counted for its reply. */
const counted = z.looseObject({ usage: z.looseObject({ completion_tokens: z.number().int().min(0) }) });

/** The parts of a wire judge that all its calls share. */
interface WireCalls extends Pick<WireJudgeOptions, 'name' | 'hint'> {
  readonly caller: Caller;
  readonly refusal: Refusal;
}

/** The error of a server that refuses every call, or does not answer any more; undefined for that of one call. */
function refusalOf(error: unknown, { url }: HttpCall, { name, hint }: WireCalls): FloodgateError | undefined {
  if (error instanceof WireFailure && isLasting(error))
    return new FloodgateError('judge', `${name}: ${shownAddress(url)}: ${error.message}`, { hint, cause: error });
  if (!(error instanceof FloodgateError) || error.code !== 'target') return undefined;
  return new FloodgateError('judge', error.message, { hint: error.hint ?? hint, cause: error }); // of the breaker
}

function createAsk(calls: WireCalls, { signal, limited }: Scoring, spend: (tokens: number) => void): Ask {
  return (call, read) =>
    calls.refusal.heed(
      (check) =>
        limited(async () => {
          check();
          const value = await calls.caller.call(call, read, signal);
          const usage = counted.safeParse(value);
          if (usage.success) spend(usage.data.usage.completion_tokens);
          return value;
        }),
      (error) => refusalOf(error, call, calls),
    );
}

/**
 * A judge that is asked over HTTP. A call that fails leaves its exchange unscored. A refused key stops the work, and no
 * call that waits is sent.
 */
export function createWireJudge(options: WireJudgeOptions): Judge {
  const { name, config, score } = options;
  const { concurrency, timeoutSeconds, retries } = config;
  const client = createHttpClient({ timeoutMs: timeoutSeconds * 1000, connections: concurrency });
  const retry = { ...DEFAULT_RETRY, retries };
  const caller = createCaller({ name, client, retry, breakAfter: breakAfter(concurrency) });
  const calls: WireCalls = { ...options, caller, refusal: new Refusal() };
  return createConcurrentJudge({
    name,
    concurrency,
    scoreOne: async (exchange, scoring) => {
      let tokens = 0;
      const ask = createAsk(calls, scoring, (spent) => {
        tokens += spent;
      });
      const verdict = await scoredOrNot(name, () => score(exchange, ask));
      return tokens === 0 ? verdict : { ...verdict, usage: { tokens } };
    },
    release: () => client.close(),
  });
}

async function scoredOrNot(name: string, work: () => Promise<Verdict>): Promise<Verdict> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof WireFailure) return unscored(`${name}: ${error.message}`);
    throw error;
  }
}

/** Posts JSON to one path of an OpenAI-compatible server. @throws FloodgateError `config` for a key that is not set. */
export function createPost({ baseUrl, apiKeyEnv }: ServerConfig, path: string): (body: object) => HttpCall {
  const headers = { 'content-type': 'application/json', ...bearerHeader(apiKeyEnv, 'apiKeyEnv') };
  const url = methodUrl(baseUrl, path);
  return (body) => ({ method: 'POST', url, headers, body: JSON.stringify(body) });
}

/** The JSON of a reply, in the form that `schema` states. @throws WireFailure for another one. */
export function parseReply<T>({ text }: HttpReply, schema: z.ZodType<T>, expected: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WireFailure('protocol', `answered no JSON: ${excerpt(text)}`, { isTransient: true, cause, body: text });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new WireFailure('protocol', `answered without ${expected}: ${excerpt(text)}`, {
    isTransient: true,
    body: text,
  });
}
