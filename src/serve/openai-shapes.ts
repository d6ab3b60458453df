import { randomUUID } from 'node:crypto';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import type { Answer, AnswerUsage } from './answer.ts';
import type { AnswerPiece, AnswerToken } from './answer-text.ts';
import type { ServedModel } from './served-model.ts';

/** How an answer is written in one of OpenAI's interfaces: whole, or as the chunks of a stream. */
export interface AnswerShape {
  whole(answer: Answer): object;
  /** Chunks that begin choice `index`; the chat tells its role first. */
  begin(index: number): object[];
  piece(index: number, piece: AnswerPiece): object;
  end(index: number, finishReason: string): object;
  usage(usage: AnswerUsage): object;
}

export interface ShapeOptions {
  readonly model: ServedModel;
  readonly hasLogProbs: boolean;
}

/** Text of single tokens. Each is decoded behind another: some decoders cut the space before the first. */
function createTokenText(tokenizer: Tokenizer): (id: number) => string {
  const anchor = tokenizer.encode('a', { parseSpecial: false });
  const options = { skipSpecial: false };
  const anchorText = tokenizer.decode(anchor, options);
  return (id) => {
    const text = tokenizer.decode([...anchor, id], options);
    return text.startsWith(anchorText) ? text.slice(anchorText.length) : tokenizer.decode([id], options);
  };
}

/** Fields that every object of one answer has. */
function headOf(object: string, prefix: string, { id, fingerprint }: ServedModel) {
  return {
    id: `${prefix}-${randomUUID()}`,
    object,
    created: Math.floor(Date.now() / 1000),
    model: id,
    system_fingerprint: fingerprint,
  };
}

export function createChatShape({ model, hasLogProbs }: ShapeOptions): AnswerShape {
  const textOf = createTokenText(model.tokenizer);
  const head = headOf('chat.completion', 'chatcmpl', model);
  const entry = (id: number, logprob: number) => {
    const token = textOf(id);
    const bytes = token.includes('\ufffd') ? null : [...Buffer.from(token)];
    return { token, logprob, bytes };
  };
  const logProbs = (tokens: readonly AnswerToken[]) =>
    hasLogProbs
      ? {
          content: tokens.map(({ id, logProb, best }) => ({
            ...entry(id, logProb),
            top_logprobs: best.map((token) => entry(token.id, token.logProb)),
          })),
          refusal: null,
        }
      : null;
  const chunk = (choices: object[], rest: object = {}) => ({
    ...head,
    object: 'chat.completion.chunk',
    choices,
    ...rest,
  });
  const delta = (index: number, delta: object, logprobs: object | null = null, finish_reason: string | null = null) =>
    chunk([{ index, delta, logprobs, finish_reason }]);
  return {
    whole: ({ choices, usage }) => ({
      ...head,
      choices: choices.map(({ text, tokens, finishReason }, index) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: logProbs(tokens),
        finish_reason: finishReason,
      })),
      usage,
    }),
    begin: (index) => [delta(index, { role: 'assistant', content: '' })],
    piece: (index, { text, tokens }) => delta(index, { content: text }, logProbs(tokens)),
    end: (index, finishReason) => delta(index, {}, null, finishReason),
    usage: (usage) => chunk([], { usage }),
  };
}

export function createTextShape({ model, hasLogProbs }: ShapeOptions): AnswerShape {
  const textOf = createTokenText(model.tokenizer);
  const head = headOf('text_completion', 'cmpl', model);
  const logProbs = (tokens: readonly AnswerToken[]) =>
    hasLogProbs
      ? {
          tokens: tokens.map(({ id }) => textOf(id)),
          token_logprobs: tokens.map(({ logProb }) => logProb),
          // The drawn token is always among them, as OpenAI has it.
          top_logprobs: tokens.map((drawn) =>
            Object.fromEntries([...drawn.best, drawn].map(({ id, logProb }) => [textOf(id), logProb])),
          ),
          text_offset: tokens.map(({ offset }) => offset),
        }
      : null;
  const choice = (index: number, piece: AnswerPiece, finish_reason: string | null) => ({
    index,
    text: piece.text,
    logprobs: logProbs(piece.tokens),
    finish_reason,
  });
  return {
    whole: ({ choices, usage }) => ({
      ...head,
      choices: choices.map((one, index) => choice(index, one, one.finishReason)),
      usage,
    }),
    begin: () => [],
    piece: (index, piece) => ({ ...head, choices: [choice(index, piece, null)] }),
    end: (index, finishReason) => ({ ...head, choices: [choice(index, { text: '', tokens: [] }, finishReason)] }),
    usage: (usage) => ({ ...head, choices: [], usage }),
  };
}
