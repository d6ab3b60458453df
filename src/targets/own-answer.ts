import { z } from 'zod';
import type { Breaker } from '../wire/breaker.ts';
import { excerptOfValue } from '../wire/wire-failure.ts';
import { estimateTokens } from './openai-protocol.ts';
import { failedAnswer, seedOf } from './remote-target.ts';
import type { DecodeSettings, TargetAnswer, TargetRequest } from './target.ts';

/** Questions to code of a user, modules and programs, and its answers. */

/** One question to code of a user. */
export interface OwnQuestion {
  readonly attack: string;
  /** For code that draws at random: the same in a repeated run. */
  readonly seed: number;
  readonly maxTokens: number;
  readonly temperature: number;
}

export function ownQuestion(
  request: TargetRequest,
  response: number,
  { maxNewTokens: maxTokens, temperature }: DecodeSettings,
  seed: number,
): OwnQuestion {
  return { attack: request.attack, seed: seedOf(seed, request, response), maxTokens, temperature };
}

/** Longest text that is taken. Stops an endless answer from filling the run's database. */
const MAX_TEXT_CHARACTERS = 2 ** 22;

const ownAnswer = z.union([
  z.string().transform((text) => ({ text })),
  z.looseObject({
    text: z.string().nullish(),
    refused: z.union([z.boolean(), z.string()]).nullish(),
    usage: z.looseObject({ tokens: z.number().int().min(0).nullish() }).nullish(),
  }),
]);

type OwnAnswer = {
  text?: unknown;
  refused?: unknown;
  usage?: { tokens?: number | null | undefined } | null | undefined;
};

/** An answer of a user's code; `failed` for one that is neither a text nor a refusal. */
export function readOwnAnswer(value: unknown, maxNewTokens: number): TargetAnswer {
  const parsed = ownAnswer.safeParse(value);
  if (!parsed.success)
    return failedAnswer(`it answered ${excerptOfValue(value)}, expected a text or { text, refused, usage }`);
  const { text, refused, usage } = parsed.data as OwnAnswer;
  if (refused !== undefined && refused !== null && refused !== false && refused !== '')
    return { kind: 'refused', reason: refused === true ? 'refused' : String(refused), usage: { calls: 1, tokens: 0 } };
  if (typeof text !== 'string') return failedAnswer(`it answered ${excerptOfValue(value)}, which holds no text`);
  if (text.length > MAX_TEXT_CHARACTERS)
    return failedAnswer(`it answered ${text.length} characters, expected at most ${MAX_TEXT_CHARACTERS}`);
  const counted = usage?.tokens;
  const tokens = Math.max(1, counted ?? estimateTokens(text));
  const isCounted = counted !== undefined && counted !== null;
  const cost = { calls: 1, tokens, ...(isCounted ? {} : { isEstimated: true as const }) };
  return { kind: 'text', text, truncated: isCounted && counted >= maxNewTokens, usage: cost };
}

/** The answer, told to the breaker: code that fails at every question stops the work. */
export function heed(breaker: Breaker, answer: TargetAnswer): TargetAnswer {
  if (answer.kind === 'failed') breaker.failed(answer.reason);
  else breaker.succeeded();
  return answer;
}
