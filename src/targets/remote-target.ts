import { setMaxListeners } from 'node:events';
import { FloodgateError, hideSecretsInUse, redactSecrets } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { createAdaptiveLimiter, createLimiter, type Limiter } from '../wire/limiter.ts';
import type { AskOptions, CallWatch, DecodeSettings, Target, TargetAnswer, TargetRequest } from './target.ts';

/** Bounds the calls under way, and begins none that may not begin. */
export interface CallGate {
  /** @param calls answers that the task asks for. */
  run<T>(task: () => Promise<T>, signal: AbortSignal, calls?: number): Promise<T>;
}

/** How one request is answered. */
export interface Answering {
  readonly responses: number;
  /** Index of each response, which names its random stream: `responses` of them. */
  readonly samples: readonly number[];
  readonly decode: DecodeSettings;
  /** Aborted by the caller, and when another request of the same `ask` ended the work. */
  readonly signal: AbortSignal;
  /** Every call goes through it. */
  readonly limiter: CallGate;
  /** Hands over an answer that has come, and returns it as it is stored. `at`: its place in `samples`. */
  arrived(answer: TargetAnswer, at: number): TargetAnswer;
  /** The same for the first of `samples`, answered by one call: all of them are stored, or none. */
  arrivedTogether(answers: readonly TargetAnswer[]): TargetAnswer[];
}

export interface RemoteTargetOptions {
  readonly name: string;
  /** Bounds the calls under way: their number, one that is found, or a limiter of the kind's own. */
  readonly concurrency?: number | 'auto';
  readonly limiter?: Limiter;
  /** Calls that the server answered with *too many*; absent where there is no server. */
  rateLimited?(): number | undefined;
  /**
   * `responses` answers to one request. Those that `arrived` did not hand over one by one are handed over together. @throws FloodgateError `target` when no request can be answered any more.
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

/** An answer by which a filter or an app declines. */
export function refusedAnswer(reason: string): TargetAnswer {
  return { kind: 'refused', reason, usage: { calls: 1, tokens: 0 } };
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

/** Waits until everything that follows from what has come by now has run. It is sooner than any input or output. */
const settled = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve));

/** The calls of one `ask`: bounded by the target's limiter, admitted by whoever watches. */
class WatchedCalls {
  /** Why no more calls may begin. */
  refusal: unknown;
  private readonly underWay = new Set<Promise<unknown>>();
  private readonly limiter: Limiter;
  private readonly watch: CallWatch | undefined;

  constructor(limiter: Limiter, watch: CallWatch | undefined) {
    this.limiter = limiter;
    this.watch = watch;
  }

  /** The gate of one request, given by its index. */
  of(request: number): CallGate {
    return { run: (task, signal, calls = 1) => this.run(task, signal, { request, calls }) };
  }

  /** The result, or its error, comes before the place is given away: an answer is stored before the next call begins. */
  private run<T>(task: () => Promise<T>, signal: AbortSignal, asked: AskedCalls): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const isBrokenOff = (): Promise<boolean> =>
        task().then(
          (result) => {
            resolve(result);
            return false;
          },
          (error: unknown) => {
            reject(error);
            return signal.aborted;
          },
        );
      const call = this.limiter.run(() => this.begin(isBrokenOff, signal, asked), signal);
      this.underWay.add(call);
      call.catch(reject).then(() => this.underWay.delete(call));
    });
  }

  private async begin(task: () => Promise<boolean>, signal: AbortSignal, { request, calls }: AskedCalls) {
    if (this.watch === undefined) return void (await task());
    const end = await this.watch.admit(calls, request).catch((error: unknown) => {
      this.refusal ??= error;
      throw error;
    });
    if (signal.aborted) {
      end();
      throw signal.reason;
    }
    const isBrokenOff = await task();
    await settled();
    end(isBrokenOff);
  }

  /** Ends when no call is under way and every answer has arrived. */
  async finish(): Promise<void> {
    while (this.underWay.size > 0) await Promise.allSettled(this.underWay);
  }
}

interface AskedCalls {
  /** Index of the request that they belong to. */
  readonly request: number;
  readonly calls: number;
}

/** The answers of one request as they come. */
function createArrivals(request: number, watch: CallWatch | undefined): Pick<Answering, 'arrived' | 'arrivedTogether'> {
  const handed = new Map<number, TargetAnswer>();
  const hand = (answers: readonly TargetAnswer[], first: number): TargetAnswer[] => {
    const fresh = answers.flatMap((answer, i) => {
      const response = first + i;
      return handed.has(response) ? [] : [{ answer: withoutSecrets(answer), response }];
    });
    for (const { answer, response } of fresh) handed.set(response, answer);
    if (fresh.length > 0) watch?.arrived(fresh, request);
    return answers.map((_, i) => handed.get(first + i) as TargetAnswer);
  };
  return {
    arrived: (answer, at) => hand([answer], at)[0] as TargetAnswer,
    arrivedTogether: (answers) => hand(answers, 0),
  };
}

/**
 * A target whose answers come from outside this process. It keeps the order, the bound on calls under way, the abort
 * and the close of the target contract; `answer` only asks.
 */
export function createRemoteTarget(options: RemoteTargetOptions): Target {
  const { name, answer, release } = options;
  const { concurrency = 1 } = options;
  const limiter = options.limiter ?? (concurrency === 'auto' ? createAdaptiveLimiter() : createLimiter(concurrency));
  const underWay = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;

  const askAll = async (requests: readonly TargetRequest[], asked: AskOptions): Promise<TargetAnswer[][]> => {
    const { decode, watch } = asked;
    const { controller, release: unfollow } = followSignal(asked.signal);
    const calls = new WatchedCalls(limiter, watch);
    const all = Array.from({ length: asked.responses }, (_, i) => i);
    let first: unknown;
    const answerOne = async (request: TargetRequest, index: number): Promise<TargetAnswer[]> => {
      const { samples = all } = request;
      const arrivals = createArrivals(index, watch);
      const responses = samples.length;
      try {
        const answering = {
          responses,
          samples,
          decode,
          signal: controller.signal,
          limiter: calls.of(index),
          ...arrivals,
        };
        return arrivals.arrivedTogether(await answer(request, answering));
      } catch (error) {
        if (error === calls.refusal) throw error; // those under way continue, so that no paid answer is lost
        first ??= error;
        controller.abort();
        throw error;
      }
    };
    const answers = await Promise.allSettled(requests.map(answerOne));
    await calls.finish();
    unfollow();
    if (first === undefined && calls.refusal === undefined)
      return answers.map((each) => (each as PromiseFulfilledResult<TargetAnswer[]>).value);
    throw asked.signal?.aborted ? new FloodgateError('interrupted', `${name}: interrupted`) : (first ?? calls.refusal);
  };

  return {
    name,
    isOneByOne: true,
    status: () => ({
      atOnce: limiter.limit,
      underWay: limiter.underWay,
      rateLimited: options.rateLimited?.() ?? 0,
    }),
    async ask(requests, asked) {
      if (closing !== undefined) throw new FloodgateError('target', `${name}: used after close`);
      if (asked.signal?.aborted) throw new FloodgateError('interrupted', `${name}: interrupted`);
      if (asked.responses === 0) return requests.map(() => []);
      const call = askAll(requests, asked);
      underWay.add(call);
      return call.finally(() => underWay.delete(call));
    },
    close() {
      closing ??= Promise.allSettled(underWay).then(release);
      return closing;
    },
  };
}
