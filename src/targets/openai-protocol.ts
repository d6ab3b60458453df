import { z } from 'zod';
import type { HttpReply } from '../wire/http-client.ts';
import { excerpt, WireFailure } from '../wire/wire-failure.ts';
import { failedAnswer, refusedAnswer } from './remote-target.ts';
import type { DecodeSettings, TargetAnswer } from './target.ts';

/** The requests and replies of OpenAI-compatible servers: `/chat/completions` and `/completions`. */

export interface OpenAiPrompt {
  readonly api: 'chat' | 'completions';
  readonly model: string;
  readonly systemPrompt: string | undefined;
  /** The key that states the longest answer: newer models of some providers refuse the older one. */
  readonly tokenLimit: 'max_tokens' | 'max_completion_tokens';
  readonly extraBody: Readonly<Record<string, unknown>>;
}

export interface OpenAiDraw {
  readonly attack: string;
  readonly decode: DecodeSettings;
  readonly n: number;
  /** Undefined: none is sent. */
  readonly seed: number | undefined;
}

/** The body of one request. `extraBody` has the last word. */
export function openAiBody(prompt: OpenAiPrompt, { attack, decode, n, seed }: OpenAiDraw): Record<string, unknown> {
  const { api, model, systemPrompt, tokenLimit, extraBody } = prompt;
  const user = { role: 'user', content: attack };
  const messages = systemPrompt === undefined ? [user] : [{ role: 'system', content: systemPrompt }, user];
  return {
    model,
    ...(api === 'chat' ? { messages } : { prompt: attack }),
    temperature: decode.temperature,
    top_p: decode.topP,
    ...(decode.topK === 0 ? {} : { top_k: decode.topK }),
    [tokenLimit]: decode.maxNewTokens,
    ...(n === 1 ? {} : { n }),
    ...(seed === undefined ? {} : { seed }),
    ...extraBody,
  };
}

const content = z.union([z.string(), z.array(z.looseObject({ text: z.string().optional() })), z.null()]).optional();

const choiceSchema = z.looseObject({
  message: z.looseObject({ content, refusal: z.string().nullish() }).nullish(),
  text: z.string().nullish(),
  finish_reason: z.string().nullish(),
  logprobs: z.unknown().optional(),
});

const replySchema = z.looseObject({
  choices: z.array(choiceSchema),
  usage: z
    .looseObject({
      completion_tokens: z.number().int().min(0).nullish(),
      prompt_tokens: z.number().int().min(0).nullish().catch(undefined),
    })
    .nullish(),
});

const errorSchema = z.looseObject({
  error: z.union([z.string(), z.looseObject({ message: z.string().nullish() })]),
});

type Choice = z.output<typeof choiceSchema>;
export type OpenAiReply = z.output<typeof replySchema>;

function parseJson({ text, contentType, status }: HttpReply): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const type = contentType === '' ? 'no content type' : contentType;
    throw new WireFailure('protocol', `answered ${status} with ${type}, expected JSON: ${excerpt(text)}`, {
      isTransient: true,
      cause,
      body: text,
    });
  }
}

/**
 * The choices and usage of a reply of status 200. @throws WireFailure for HTML, for an error in a reply of status 200,
 * and for a reply without a list of choices.
 */
export function parseOpenAiReply(reply: HttpReply): OpenAiReply {
  const json = parseJson(reply);
  const parsed = replySchema.safeParse(json);
  if (parsed.success && !(errorSchema.safeParse(json).success && parsed.data.choices.length === 0)) return parsed.data;
  const isError = errorSchema.safeParse(json).success;
  const what = isError ? 'answered 200 with an error' : 'answered without a list of choices';
  throw new WireFailure('protocol', `${what}: ${excerpt(reply.text)}`, { isTransient: isError, body: reply.text });
}

/** Words by which providers name their content filter in the error of a status 400. */
const FILTER_WORDS =
  /content_filter|content[_ ]policy|ResponsibleAIPolicyViolation|content management policy|moderation|flagged/i;

/** Whether the provider refused the prompt: an answer, not a fault. */
export function isContentRefusal({ status, body }: WireFailure): boolean {
  return (status === 400 || status === 403) && body !== undefined && FILTER_WORDS.test(body);
}

/** The text of a choice; undefined for an empty one. */
function textOf({ message, text }: Choice): string | undefined {
  if (typeof text === 'string') return text;
  const found = message?.content;
  return Array.isArray(found) ? found.map((part) => part.text ?? '').join('') : (found ?? undefined);
}

/** Characters of English in a token, on average. */
const CHARACTERS_PER_TOKEN = 4;

/** Tokens of an answer where the server counts none: at least its end. */
export function estimateTokens(text: string, maxNewTokens = Number.POSITIVE_INFINITY): number {
  return Math.min(maxNewTokens, 1 + Math.ceil(text.length / CHARACTERS_PER_TOKEN));
}

/**
 * Tokens of each choice. A server counts them together, so a cut choice has the limit, and the others share the rest by
 * their length.
 */
function tokensOf(choices: readonly Choice[], total: number | null | undefined, maxNewTokens: number): number[] {
  const estimates = choices.map((choice) => estimateTokens(textOf(choice) ?? '', maxNewTokens));
  const cut = choices.map(({ finish_reason }) => finish_reason === 'length');
  if (total === null || total === undefined) return estimates.map((each, i) => (cut[i] ? maxNewTokens : each));
  if (choices.length === 1) return [Math.max(1, total)];
  const ofCut = cut.filter(Boolean).length * maxNewTokens;
  const open = estimates.reduce((sum, each, i) => (cut[i] ? sum : sum + each), 0);
  const rest = Math.max(0, total - ofCut);
  return estimates.map((each, i) =>
    cut[i] ? maxNewTokens : Math.max(1, Math.round((rest * each) / Math.max(1, open))),
  );
}

/** One answer for each choice. */
export function answersOf({ choices, usage }: OpenAiReply, maxNewTokens: number): TargetAnswer[] {
  const total = usage?.completion_tokens;
  const promptTokens = usage?.prompt_tokens;
  const tokens = tokensOf(choices, total, maxNewTokens);
  const mark = total === null || total === undefined ? { isEstimated: true as const } : {};
  return choices.map((choice, i): TargetAnswer => {
    const { finish_reason: reason, message } = choice;
    if (reason === 'content_filter') return refusedAnswer('content filter of the provider');
    const text = textOf(choice);
    if (text === undefined && typeof message?.refusal === 'string') return refusedAnswer(message.refusal);
    if (text === undefined && reason === 'length')
      return failedAnswer(
        `the choice holds no text yet: its ${maxNewTokens} tokens (decode.maxNewTokens) were used up`,
      );
    if (text === undefined) return failedAnswer(`the choice holds no text, finish reason ${reason ?? 'none'}`);
    // The prompt is computed once for all of its choices, and paid once.
    const prompt = typeof promptTokens === 'number' ? { promptTokens: i === 0 ? promptTokens : 0 } : {};
    const usage = { calls: 1, tokens: tokens[i] as number, ...prompt, ...mark };
    return { kind: 'text', text, truncated: reason === 'length', usage };
  });
}
