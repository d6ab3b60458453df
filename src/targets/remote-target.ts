import { setMaxListeners } from 'node:events';
import { FloodgateError, hideSecretsInUse, redactSecrets } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { createLimiter, type Limiter } from '../wire/limiter.ts';
import type { AskOptions, DecodeSettings, Target, TargetAnswer, TargetRequest } from './target.ts';

/** How one request is answered. */
export interface Answering {
  readonly responses: number;
  readonly decode: DecodeSettings;
  /** Aborted by the caller, and when another request of the same `ask` ended the work. */
  readonly signal: AbortSignal;
  /** Bounds the calls under way: every call goes through it. */
  readonly limiter: Limiter;
}

export interface RemoteTargetOptions {
  readonly name: string;
  /** Calls under way at once. */
  readonly concurrency: number;
  /**
   * `responses` answers to one request. @throws FloodgateError `target` when no request can be answered any more.
   */
  answer(request: TargetRequest, answering: Answering): Promise<TargetAnswer[]>;
  /** Frees connections and processes; called once, when no call is under way. */
  release(): Promise<void>;
}

/** Seed of one response for whoever draws it: 31 bits of its random stream, the same in a repeated run. */
export function seedOf(seed: number, { streamName }: Pick<TargetRequest, 'streamName'>, response: number): number {
  return randomStream(seed, ...streamName, response).nextUint32() >>> 1;
}

/** An answer that a call did not bring. */
export function failedAnswer(reason: string, calls = 1): TargetAnswer {
  return { kind: 'failed', reason: redactSecrets(reason), usage: { calls, tokens: 0 } };
}

/** The same answer for every response, e.g. the reason why none could be asked. */
export function repeated(answer: TargetAnswer, responses: number): TargetAnswer[] {
  return Array.from({ length: responses }, () => answer);
}

/** A server may echo the key that it was sent: it must not reach the run's database. */
function withoutSecrets(answer: TargetAnswer): TargetAnswer {
  if (answer.kind === 'text') return { ...answer, text: hideSecretsInUse(answer.text) };
  return { ...answer, reason: redactSecrets(answer.reason) };
}

/** A signal of its own for one `ask`, which follows the caller's. */
function followSignal(outer: AbortSignal | undefined) {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // one listener for each call under way
  const stop = (): void => controller.abort();
  outer?.addEventListener('abort', stop, { once: true });
  return { controller, release: () => outer?.removeEventListener('abort', stop) };
}

/**
 * A target whose answers come from outside this process. It keeps the order, the bound on calls under way, the abort
 * and the close of the target contract; `answer` only asks.
 */
export function createRemoteTarget({ name, concurrency, answer, release }: RemoteTargetOptions): Target {
  const limiter = createLimiter(concurrency);
  const underWay = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;

  const askAll = async (requests: readonly TargetRequest[], options: AskOptions): Promise<TargetAnswer[][]> => {
    const { responses, decode } = options;
    const { controller, release: unfollow } = followSignal(options.signal);
    const answering = { responses, decode, signal: controller.signal, limiter };
    let first: unknown;
    const answerOne = async (request: TargetRequest): Promise<TargetAnswer[]> => {
      try {
        return (await answer(request, answering)).map(withoutSecrets);
      } catch (error) {
        first ??= error;
        controller.abort();
        throw error;
      }
    };
    const settled = await Promise.allSettled(requests.map(answerOne)).finally(unfollow);
    if (first === undefined) return settled.map((each) => (each as PromiseFulfilledResult<TargetAnswer[]>).value);
    throw options.signal?.aborted ? new FloodgateError('interrupted', `${name}: interrupted`) : first;
  };

  return {
    name,
    async ask(requests, options) {
      if (closing !== undefined) throw new FloodgateError('target', `${name}: used after close`);
      if (options.signal?.aborted) throw new FloodgateError('interrupted', `${name}: interrupted`);
      if (options.responses === 0) return requests.map(() => []);
      const call = askAll(requests, options);
      underWay.add(call);
      return call.finally(() => underWay.delete(call));
    },
    close() {
      closing ??= Promise.allSettled(underWay).then(release);
      return closing;
    },
  };
}
