import { randomInt } from 'node:crypto';
import { type AnswerPiece, AnswerText, type AnswerToken } from './answer-text.ts';
import { ApiError } from './api-error.ts';
import type { Wish } from './completion-request.ts';
import type { GenerationQueue, QueuedRow } from './generation-queue.ts';
import type { ServedModel, ServedPrompt } from './served-model.ts';

/** One choice, complete. */
export interface AnswerChoice {
  readonly text: string;
  readonly tokens: readonly AnswerToken[];
  readonly finishReason: 'stop' | 'length';
}

export interface AnswerUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** All choices of a request, those of one prompt side by side. */
export interface Answer {
  readonly choices: readonly AnswerChoice[];
  readonly usage: AnswerUsage;
}

export interface AnswerRequest {
  readonly wish: Wish;
  readonly prompts: readonly ServedPrompt[];
  /** Aborted when the client has gone. */
  readonly signal: AbortSignal;
  /** Told each piece of a choice as soon as it is settled; a last one may be empty. */
  readonly onPiece?: (choice: number, piece: AnswerPiece) => void;
}

/** The most probable tokens of a position, the best first. */
function bestOf(logProbs: Float32Array, count: number): AnswerToken['best'] {
  const best: { id: number; logProb: number }[] = [];
  for (let id = 0; count > 0 && id < logProbs.length; id++) {
    const logProb = logProbs[id] as number;
    if (best.length === count && logProb <= (best.at(-1)?.logProb as number)) continue;
    const place = best.findIndex((other) => other.logProb < logProb);
    best.splice(place === -1 ? best.length : place, 0, { id, logProb });
    if (best.length > count) best.pop();
  }
  return best;
}

interface ChoiceOptions {
  readonly maxTokens: number;
  tell(piece: AnswerPiece): void;
}

/** A choice on its way. */
class GrowingChoice {
  private readonly text: AnswerText;
  private readonly ends: ReadonlySet<number>;
  private readonly wish: Wish;
  private readonly tell: (piece: AnswerPiece) => void;
  private readonly pieces: AnswerPiece[] = [];
  private readonly maxTokens: number;
  private drawn = 0;
  private hasEnded = false;

  constructor({ tokenizer, isTrimmed }: ServedModel, wish: Wish, { maxTokens, tell }: ChoiceOptions) {
    this.maxTokens = maxTokens;
    this.text = new AnswerText({ tokenizer, isTrimmed, stops: wish.stops });
    this.ends = new Set(tokenizer.endIds);
    this.wish = wish;
    this.tell = tell;
  }

  /** Takes a token as it is drawn; true when the choice is complete. */
  watch(id: number, logProbs: Float32Array | undefined): boolean {
    this.drawn++;
    if (this.ends.has(id)) {
      this.hasEnded = true;
      return true;
    }
    const { bestTokens } = this.wish;
    const isWanted = bestTokens !== undefined && logProbs !== undefined;
    const logProb = isWanted ? (logProbs[id] as number) : Number.NaN;
    const piece = this.text.push({ id, logProb, best: isWanted ? bestOf(logProbs, bestTokens) : [] });
    if (piece.text !== '' || piece.tokens.length > 0) this.give(piece);
    return this.text.isStopped || this.drawn >= this.maxTokens;
  }

  finish(): AnswerChoice & { readonly drawn: number } {
    this.give(this.text.finish());
    return {
      text: this.pieces.map(({ text }) => text).join(''),
      tokens: this.pieces.flatMap(({ tokens }) => tokens),
      finishReason: this.hasEnded || this.text.isStopped ? 'stop' : 'length',
      drawn: this.drawn,
    };
  }

  private give(piece: AnswerPiece): void {
    this.pieces.push(piece);
    this.tell(piece);
  }
}

function assertFits(prompt: ServedPrompt, { contextTokens, tokenizer }: ServedModel): void {
  const unknown = prompt.ids.find((id) => id >= tokenizer.vocabSize);
  if (unknown !== undefined) throw new ApiError(400, `prompt: there is no token ${unknown}`, { param: 'prompt' });
  if (prompt.maxNewTokens >= 1 && prompt.ids.length > 0) return;
  throw new ApiError(
    400,
    `the prompt has ${prompt.ids.length} tokens and leaves no room for an answer in a context of ${contextTokens}`,
    { code: 'context_length_exceeded' },
  );
}

/** Seeds that nobody asked for: a request without one gets another each time. */
const SEED_RANGE = 2 ** 31;

/**
 * Answers a request. One with a seed is sampled alone, so that it repeats to the last bit.
 * @throws ApiError 400 for a prompt that does not fit, 429 when too much waits; FloodgateError `interrupted`.
 */
export async function answer(
  model: ServedModel,
  queue: GenerationQueue,
  { wish, prompts, signal, onPiece }: AnswerRequest,
): Promise<Answer> {
  const { n, temperature, topP, topK, maxTokens } = wish;
  for (const prompt of prompts) assertFits(prompt, model);
  const seed = wish.seed ?? randomInt(SEED_RANGE);
  const isGreedy = temperature === 0;
  const growing: GrowingChoice[] = [];
  const rows = prompts.flatMap(({ ids, minNewTokens, maxNewTokens }, prompt) =>
    Array.from({ length: n }, (_, choice): QueuedRow => {
      const index = growing.length;
      const most = Math.min(maxTokens, maxNewTokens);
      const tell = (piece: AnswerPiece): void => onPiece?.(index, piece);
      const grown = new GrowingChoice(model, wish, { maxTokens: most, tell });
      growing.push(grown);
      return {
        prompt: ids,
        minNewTokens,
        maxNewTokens: most,
        temperature: isGreedy ? 1 : temperature,
        stream: model.streamOf(seed, prompt, choice),
        watch: (token, logProbs) => grown.watch(token, logProbs),
      };
    }),
  );
  await queue.submit({ rows, topK: isGreedy ? 1 : topK, topP, isAlone: wish.seed !== undefined, signal });
  const finished = growing.map((choice) => choice.finish());
  const promptTokens = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
  const drawn = finished.reduce((sum, choice) => sum + choice.drawn, 0);
  return {
    choices: finished,
    usage: { prompt_tokens: promptTokens, completion_tokens: drawn, total_tokens: promptTokens + drawn },
  };
}
