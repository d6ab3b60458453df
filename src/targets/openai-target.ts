import type { Caller } from '../wire/caller.ts';
import type { HttpCall } from '../wire/http-client.ts';
import type { Limiter } from '../wire/limiter.ts';
import { isLasting, WireFailure } from '../wire/wire-failure.ts';
import {
  answersOf,
  isContentRefusal,
  type OpenAiDraw,
  type OpenAiPrompt,
  type OpenAiReply,
  openAiBody,
  parseOpenAiReply,
} from './openai-protocol.ts';
import { tooLong } from './remote-fields.ts';
import { type Answering, createRemoteTarget, failedAnswer, refusedAnswer, repeated, seedOf } from './remote-target.ts';
import type { Target, TargetAnswer, TargetRequest } from './target.ts';
import { type AskedAddress, toWireError } from './wire-errors.ts';

export interface OpenAiServer {
  readonly prompt: OpenAiPrompt;
  readonly url: URL;
  /** With the key. */
  readonly headers: Readonly<Record<string, string>>;
  /** Statuses that are a refusal. */
  readonly refusedStatus: readonly number[];
  readonly asked: AskedAddress;
}

export interface OpenAiTargetOptions extends OpenAiServer {
  readonly name: string;
  readonly caller: Caller;
  readonly limiter: Limiter;
  /** Seed of every request; undefined where none is sent. */
  readonly seed: number | undefined;
  release(): Promise<void>;
}

/** The request of one draw. */
export function openAiCall({ prompt, url, headers }: OpenAiServer, draw: OpenAiDraw): HttpCall & { body: string } {
  const body = JSON.stringify(openAiBody(prompt, draw));
  const maxTokens = draw.n * draw.decode.maxNewTokens;
  return { method: 'POST', url, headers: { 'content-type': 'application/json', ...headers }, body, maxTokens };
}

/**
 * Whether the server draws several answers in one request. The first request for several finds out, and the others wait
 * for it.
 */
type Several = 'unknown' | 'yes' | 'no';

class OpenAiAsker {
  private readonly options: OpenAiTargetOptions;
  private several: Several = 'unknown';
  private finding: Promise<unknown> | undefined;

  constructor(options: OpenAiTargetOptions) {
    this.options = options;
  }

  async answer(request: TargetRequest, answering: Answering): Promise<TargetAnswer[]> {
    const { responses, samples, decode, arrived, arrivedTogether } = answering;
    const longest = openAiCall(this.options, { attack: request.attack, decode, n: responses, seed: 2 ** 31 - 1 });
    const reason = tooLong(longest.body);
    if (reason !== undefined) return repeated(failedAnswer(reason, 0), responses);
    const drawn = await this.drawTogether(request, answering);
    if (drawn.length >= responses) return drawn;
    arrivedTogether(drawn);
    const rest = samples.slice(drawn.length).map(async (sample, i) => {
      return arrived(await this.drawOne(request, sample, answering), drawn.length + i);
    });
    return [...drawn, ...(await Promise.all(rest))];
  }

  /** The answers of one request for all responses; none where the server draws one at a time. */
  private async drawTogether(request: TargetRequest, answering: Answering): Promise<TargetAnswer[]> {
    if (answering.responses === 1) return [];
    while (this.several === 'unknown' && this.finding !== undefined) await this.finding;
    if (this.several === 'no') return [];
    if (this.several === 'yes') return this.drawSeveral(request, answering);
    const finding = this.drawSeveral(request, answering);
    this.finding = finding.catch(() => undefined);
    try {
      return await finding;
    } finally {
      this.finding = undefined;
    }
  }

  private async drawSeveral(request: TargetRequest, answering: Answering): Promise<TargetAnswer[]> {
    const { responses } = answering;
    const outcome = await this.draw(request, answering.samples[0] as number, responses, answering);
    if (outcome.kind === 'rejected') return this.drawAfterRejection(request, answering);
    if (outcome.kind !== 'drawn') return repeated(outcome.answer, responses);
    const { answers } = outcome;
    if (answers.length === 0) return repeated(failedAnswer('the answer holds no choices'), responses);
    if (answers.length > responses) return repeated(wrongCount(answers.length, responses), responses);
    this.several = answers.length === responses ? 'yes' : 'no';
    return answers;
  }

  /** A server refused a request for several: it draws one at a time if it answers a request for one. */
  private async drawAfterRejection(request: TargetRequest, answering: Answering): Promise<TargetAnswer[]> {
    const first = await this.drawOne(request, answering.samples[0] as number, answering);
    if (first.kind === 'failed') return repeated(first, answering.responses);
    this.several = 'no';
    return [first];
  }

  private async drawOne(request: TargetRequest, response: number, answering: Answering): Promise<TargetAnswer> {
    const outcome = await this.draw(request, response, 1, answering);
    if (outcome.kind !== 'drawn') return outcome.answer;
    const [answer] = outcome.answers;
    if (answer === undefined) return failedAnswer('the answer holds no choices');
    return outcome.answers.length === 1 ? answer : wrongCount(outcome.answers.length, 1);
  }

  private async draw(
    request: TargetRequest,
    response: number,
    n: number,
    { decode, signal, limiter }: Answering,
  ): Promise<Outcome> {
    const { seed, caller, asked, refusedStatus } = this.options;
    const own = seed === undefined ? undefined : seedOf(seed, request, response);
    const call = openAiCall(this.options, { attack: request.attack, decode, n, seed: own });
    try {
      const reply: OpenAiReply = await limiter.run(() => caller.call(call, parseOpenAiReply, signal), signal, n);
      return { kind: 'drawn', answers: answersOf(reply, decode.maxNewTokens) };
    } catch (error) {
      if (!(error instanceof WireFailure)) throw error;
      if (isContentRefusal(error)) return { kind: 'refused', answer: refusedAnswer('content policy of the provider') };
      if (refusedStatus.includes(error.status ?? 0))
        return { kind: 'refused', answer: refusedAnswer(`status ${error.status} of a filter`) };
      if (isLasting(error)) throw toWireError(error, asked);
      const isRejected = error.status === 400 || error.status === 422;
      return { kind: isRejected ? 'rejected' : 'failed', answer: failedAnswer(error.message) };
    }
  }
}

/** The outcome of a request for `n` answers. */
type Outcome =
  | { readonly kind: 'drawn'; readonly answers: TargetAnswer[] }
  /** `rejected`: the server does not accept the request as it is written. */
  | { readonly kind: 'refused' | 'rejected' | 'failed'; readonly answer: TargetAnswer };

function wrongCount(got: number, expected: number): TargetAnswer {
  return failedAnswer(`the answer holds ${got} choices, expected ${expected}`);
}

/** A model behind an OpenAI-compatible server. Close it when done. */
export function createOpenAiTarget(options: OpenAiTargetOptions): Target {
  const { name, caller, limiter, release } = options;
  const asker = new OpenAiAsker(options);
  return createRemoteTarget({
    name,
    limiter,
    rateLimited: () => caller.rateLimited ?? 0,
    answer: (request, answering) => asker.answer(request, answering),
    release,
  });
}
