import type { TargetAnswer } from '../targets/target.ts';
import type { Budget } from './budget.ts';
import type { Spent } from './call-log.ts';
import { estimatePromptTokens, moneyOf, moneyOfAnswer, type Prices } from './prices.ts';

/** Begins calls within the budget, and says what each has cost. */
export interface CallMeter {
  /** Reserves the most that calls may cost: `most` is for one of them. @throws BudgetSpent. */
  admitTarget(calls: number, most: MostTokens): Promise<() => void>;
  /** @param text of all that a judge elsewhere is sent; absent for a judge on this machine. @throws BudgetSpent. */
  admitJudge(calls: number, text?: string): Promise<() => void>;
  /** The cost of an answer that has come. */
  priceOf(answer: TargetAnswer, attack: string): Partial<Spent>;
  /** The cost of one verdict. `paid`: its judge is asked elsewhere. */
  priceOfVerdict(verdict: { readonly usage?: { readonly tokens: number } }, text: string): Partial<Spent>;
  /** So many answers came from the log. */
  found(answers: number): void;
  /** Since the process began. */
  readonly counts: MeterCounts;
  /** The same meter for a target whose prompts hold so many tokens beside the attack. */
  withPrompt(promptTokens: number): CallMeter;
}

/** The most tokens that one call may take. */
export interface MostTokens {
  readonly tokens: number;
  /** Of the attack alone. */
  readonly promptTokens: number;
}

export interface MeterCounts {
  /** Answers that came from the log. */
  readonly found: number;
  /** Calls that were begun. */
  readonly begun: number;
  readonly underWay: number;
}

export interface CallMeterOptions {
  readonly budget: Budget;
  /** Undefined: no money is counted. */
  readonly prices: Prices | undefined;
  /** Tokens of each prompt beside the attack, such as those of a system prompt. */
  readonly promptTokens?: number;
}

export function createCallMeter({ budget, prices, promptTokens: own = 0 }: CallMeterOptions): CallMeter {
  let found = 0;
  let begun = 0;
  let underWay = 0;
  const admit = async (most: Partial<Spent>, calls: number): Promise<() => void> => {
    const release = await budget.admit(most);
    begun += calls;
    underWay += calls;
    return () => {
      underWay -= calls;
      release();
    };
  };
  const meterOf = (promptTokens: number): CallMeter => ({
    withPrompt: meterOf,
    admitTarget: (calls, most) => {
      const tokens = calls * most.tokens;
      const sent = calls * (promptTokens + most.promptTokens);
      const money = moneyOf(prices?.target, { calls, promptTokens: sent, tokens });
      return admit({ targetCalls: calls, tokens, money }, calls);
    },
    admitJudge: (calls, text) => {
      if (text === undefined) return admit({ judgeCalls: calls }, 0);
      const money = moneyOf(prices?.judges, { calls, promptTokens: estimatePromptTokens(text), tokens: 0 });
      return admit({ judgeCalls: calls, money }, 0);
    },
    priceOf: (answer, attack) => ({
      targetCalls: answer.usage.calls,
      tokens: answer.usage.tokens,
      money: moneyOfAnswer(prices?.target, answer, promptTokens + estimatePromptTokens(attack)),
    }),
    priceOfVerdict: ({ usage }, text) => ({
      judgeCalls: 1,
      money: moneyOf(prices?.judges, {
        calls: 1,
        promptTokens: estimatePromptTokens(text),
        tokens: usage?.tokens ?? 0,
      }),
    }),
    found: (answers) => {
      found += answers;
    },
    get counts() {
      return { found, begun, underWay };
    },
  });
  return meterOf(own);
}
