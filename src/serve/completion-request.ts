import { z } from 'zod';
import type { ChatMessage } from '../models/tokenizer/chat-template.ts';
import { ApiError } from './api-error.ts';

/** A request to either endpoint, with the defaults of OpenAI's interface. */
export interface Wish {
  readonly model: string;
  readonly n: number;
  /** Absent: each request draws its own. */
  readonly seed: number | undefined;
  /** Of an attacker with cells; absent: one of them at random. */
  readonly cell: string | undefined;
  readonly temperature: number;
  readonly topP: number;
  /** 0: all tokens. */
  readonly topK: number;
  readonly maxTokens: number;
  readonly stops: readonly string[];
  /** How many of the most probable tokens come with each token; absent: no log-probs at all. */
  readonly bestTokens: number | undefined;
  readonly isStreamed: boolean;
  readonly isUsageStreamed: boolean;
}

export interface ChatWish extends Wish {
  readonly messages: readonly ChatMessage[];
}

export interface TextWish extends Wish {
  readonly prompts: readonly (string | readonly number[])[];
}

/** Choices of one request; the rows of two batches. */
export const MAX_CHOICES = 128;
const MAX_STOPS = 16;
const MAX_STOP_LENGTH = 256;
const DEFAULT_CHAT_TOKENS = 256;
const DEFAULT_TEXT_TOKENS = 16;
/** More than any context holds. */
const MAX_TOKENS = 1_000_000;

const count = z.int().min(1).max(MAX_TOKENS);
const stop = z.string().min(1).max(MAX_STOP_LENGTH);

const shared = z.object({
  model: z.string(),
  n: z.int().min(1).max(MAX_CHOICES).nullish(),
  seed: z.int().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish(), // not OpenAI's: of vLLM, llama.cpp and others, where -1 and 0 are all
  cell: z.string().nullish(), // not OpenAI's: the category of an attacker's attacks
  max_tokens: count.nullish(),
  stop: z.union([stop, z.array(stop).max(MAX_STOPS)]).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
});

const content = z.union([z.string(), z.array(z.object({ type: z.literal('text'), text: z.string() }))]);

const chatSchema = shared.extend({
  max_completion_tokens: count.nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  messages: z
    .array(
      z.object({
        role: z.enum(['system', 'developer', 'user', 'assistant']),
        content: content.nullish(),
      }),
    )
    .min(1),
});

const tokenIds = z.array(z.int().nonnegative()).min(1);

const textSchema = shared.extend({
  logprobs: z.int().min(0).max(5).nullish(),
  prompt: z.union([z.string(), tokenIds, z.array(z.string()).min(1), z.array(tokenIds).min(1)]).nullish(),
});

/** Fields that would change the answer and are not obeyed here; the values that ask for nothing pass. */
const UNSUPPORTED: Readonly<Record<string, (value: unknown) => boolean>> = {
  tools: (value) => Array.isArray(value) && value.length === 0,
  functions: (value) => Array.isArray(value) && value.length === 0,
  response_format: (value) => (value as { type?: unknown }).type === 'text',
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  logit_bias: (value) => Object.keys(value as object).length === 0,
  best_of: (value) => value === 1,
  suffix: (value) => value === '',
  echo: (value) => value === false,
};

function refuseUnsupported(body: object): void {
  for (const [param, asksNothing] of Object.entries(UNSUPPORTED)) {
    const value: unknown = (body as Record<string, unknown>)[param];
    if (value !== undefined && value !== null && !asksNothing(value))
      throw new ApiError(400, `${param} is not supported here`, { param, code: 'unsupported_parameter' });
  }
}

function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const param = issue?.path.join('.') ?? '';
    const details = param === '' ? {} : { param };
    throw new ApiError(400, `${param === '' ? 'request' : param}: ${issue?.message ?? 'is wrong'}`, details);
  }
  refuseUnsupported(body as object);
  return parsed.data;
}

function wishOf(body: z.infer<typeof shared>, maxTokens: number, bestTokens: number | undefined): Wish {
  const { stop } = body;
  return {
    model: body.model,
    n: body.n ?? 1,
    seed: body.seed ?? undefined,
    cell: body.cell ?? undefined,
    temperature: body.temperature ?? 1,
    topP: body.top_p ?? 1,
    topK: Math.max(0, body.top_k ?? 0),
    maxTokens,
    stops: typeof stop === 'string' ? [stop] : (stop ?? []),
    bestTokens,
    isStreamed: body.stream ?? false,
    isUsageStreamed: body.stream_options?.include_usage ?? false,
  };
}

/** Reads the body of `/v1/chat/completions`. @throws ApiError 400 with the field that is wrong. */
export function parseChatWish(body: unknown): ChatWish {
  const chat = parseBody(chatSchema, body);
  const maxTokens = chat.max_completion_tokens ?? chat.max_tokens ?? DEFAULT_CHAT_TOKENS;
  const hasLogProbs = chat.logprobs ?? false;
  if (!hasLogProbs && (chat.top_logprobs ?? 0) > 0)
    throw new ApiError(400, 'top_logprobs: needs logprobs: true', { param: 'top_logprobs' });
  const messages = chat.messages.map(({ role, content }): ChatMessage => {
    const text = typeof content === 'string' ? content : (content ?? []).map(({ text }) => text).join('');
    return { role: role === 'developer' ? 'system' : role, content: text };
  });
  return { ...wishOf(chat, maxTokens, hasLogProbs ? (chat.top_logprobs ?? 0) : undefined), messages };
}

function promptsOf(prompt: z.infer<typeof textSchema>['prompt']): TextWish['prompts'] {
  if (typeof prompt === 'string') return [prompt];
  if (prompt === null || prompt === undefined) return [''];
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as string[] | number[][]);
}

/** Reads the body of `/v1/completions`. @throws ApiError 400 with the field that is wrong. */
export function parseTextWish(body: unknown): TextWish {
  const text = parseBody(textSchema, body);
  const prompts = promptsOf(text.prompt);
  const choices = prompts.length * (text.n ?? 1);
  if (choices > MAX_CHOICES)
    throw new ApiError(400, `prompt: ${choices} choices in all, expected at most ${MAX_CHOICES}`, { param: 'prompt' });
  return { ...wishOf(text, text.max_tokens ?? DEFAULT_TEXT_TOKENS, text.logprobs ?? undefined), prompts };
}
