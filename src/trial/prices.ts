import { z } from 'zod';
import { nonNegative } from '../base/config-fields.ts';
import type { TargetAnswer } from '../targets/target.ts';
import type { TargetConfig } from '../targets/target-kind.ts';
import { AUTO_LIMITS } from '../wire/limiter.ts';

const perMillion = nonNegative.max(1e9).default(0);

const price = z
  .strictObject({
    perCall: nonNegative.max(1e9).default(0).describe('of a response, or of a verdict'),
    perMillionPromptTokens: perMillion.describe('tokens that are sent; estimated where the server counts none'),
    perMillionTokens: perMillion.describe('tokens that are generated'),
  })
  .optional();

/** The section `prices` of a config. */
export const pricesSection = z
  .strictObject({
    currency: z.string().trim().min(1).max(16).default('USD').describe('a name, for messages'),
    target: price.describe('of the target'),
    judges: price.describe('of the judges that are asked elsewhere'),
  })
  .optional()
  .describe('what calls cost; without it, money is not counted');

export type Prices = NonNullable<z.output<typeof pricesSection>>;
export type Price = NonNullable<Prices['target']>;

/** Characters of English in a token, on average. */
const CHARACTERS_PER_TOKEN = 4;

/** Tokens that a prompt has, where nobody has counted them. */
export function estimatePromptTokens(text: string): number {
  return Math.ceil(text.length / CHARACTERS_PER_TOKEN);
}

/** Calls under way at once, for an estimate of time: those that `auto` begins with. */
export function callsAtOnceOf({ concurrency }: TargetConfig): number {
  if (concurrency === 'auto') return AUTO_LIMITS.first;
  return typeof concurrency === 'number' ? concurrency : 1;
}

/** The price of so many calls and tokens. */
export function moneyOf(
  price: Price | undefined,
  { calls, promptTokens, tokens }: { readonly calls: number; readonly promptTokens: number; readonly tokens: number },
): number {
  if (price === undefined) return 0;
  const { perCall, perMillionPromptTokens, perMillionTokens } = price;
  return calls * perCall + (promptTokens * perMillionPromptTokens + tokens * perMillionTokens) / 1e6;
}

/** The price of one answer. @param promptTokens of its prompt. */
export function moneyOfAnswer(price: Price | undefined, { usage }: TargetAnswer, promptTokens: number): number {
  const { calls, tokens } = usage;
  return moneyOf(price, { calls, tokens, promptTokens: calls === 0 ? 0 : (usage.promptTokens ?? promptTokens) });
}
