import { z } from 'zod';
import { positive, positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { BudgetSpent } from './budget-spent.ts';
import { addSpent, type CallLog, NOTHING_SPENT, type Spent } from './call-log.ts';

/** The section `budget` of a config: hard caps over the whole run. */
export const budgetSection = z
  .strictObject({
    targetCalls: positiveCount.optional().describe('responses asked of the target'),
    judgeCalls: positiveCount.optional().describe('exchanges given to judges'),
    tokens: positiveCount.optional().describe('tokens that the target generates'),
    money: positive.optional().describe('in the currency of prices'),
    hours: positive.optional().describe('of work on the run, over all its starts'),
  })
  .optional()
  .describe('caps that stop the run cleanly; a call that would exceed one is not begun');

/** Caps over a run; an absent one is none. */
export type BudgetCaps = { readonly [Cap in keyof NonNullable<z.output<typeof budgetSection>>]?: number | undefined };

export const BUDGET_CAPS = Object.keys(budgetSection.unwrap().shape) as readonly (keyof BudgetCaps)[];

const WORDS: Readonly<Record<keyof BudgetCaps, string>> = {
  targetCalls: 'target calls',
  judgeCalls: 'judge calls',
  tokens: 'tokens',
  money: 'money',
  hours: 'hours',
};

const shown = (amount: number): string =>
  amount.toLocaleString('en-US', Number.isInteger(amount) ? {} : { maximumSignificantDigits: 4 });

/** Sums of money are binary fractions: a cap is not passed by the last digit. */
const ROUNDING = 1e-9;

export interface Budget {
  /**
   * Waits while calls under way may still leave room for `most`, the most that a call may cost, and reserves it. The
   * result gives the reservation back once the true cost is in the log. @throws BudgetSpent when it can fit no more.
   */
  admit(most: Partial<Spent>): Promise<() => void>;
  /** Why no more time may be spent; undefined while it may. Work that makes no call is stopped by it too. */
  timeSpent(): BudgetSpent | undefined;
  /** Until `timeSpent` says so; Infinity without a cap on hours. */
  readonly secondsLeft: number;
}

/** @param rest what the run would still ask by its plan, in words. */
export function createBudget(caps: BudgetCaps, log: CallLog, rest: () => string = () => ''): Budget {
  let reserved = NOTHING_SPENT;
  let ended: BudgetSpent | undefined; // the run stops: a smaller call that would still fit is not begun either
  const waiting: (() => void)[] = [];
  const amountOf = (spent: Spent, cap: keyof BudgetCaps): number => (cap === 'hours' ? log.seconds / 3600 : spent[cap]);
  const exceeded = (spent: Spent): keyof BudgetCaps | undefined =>
    BUDGET_CAPS.find((cap) => {
      const most = caps[cap];
      if (most === undefined) return false;
      return cap === 'hours' ? amountOf(spent, cap) >= most : amountOf(spent, cap) > most * (1 + ROUNDING);
    });
  const spentError = (cap: keyof BudgetCaps, most: Partial<Spent>): BudgetSpent => {
    const limit = caps[cap] as number;
    const spent = amountOf(log.spent, cap);
    const next = cap === 'hours' || spent >= limit ? '' : `, and the next call may take ${shown(most[cap] ?? 0)}`;
    const left = rest();
    return new BudgetSpent(
      cap,
      `the budget is spent: ${shown(spent)} of ${shown(limit)} ${WORDS[cap]}${next}; every answer is kept` +
        `${left === '' ? '' : `; ${left}`}`,
      Math.ceil(2 * limit),
    );
  };
  const secondsLeft = (): number =>
    caps.hours === undefined ? Number.POSITIVE_INFINITY : 3600 * caps.hours - log.seconds;
  return {
    timeSpent: () => (secondsLeft() > 0 ? undefined : spentError('hours', {})),
    get secondsLeft() {
      return secondsLeft();
    },
    admit: async (most) => {
      for (;;) {
        const alone = exceeded(addSpent(log.spent, most));
        if (alone !== undefined) ended ??= spentError(alone, most);
        if (ended !== undefined) throw ended;
        if (exceeded(addSpent(addSpent(log.spent, reserved), most)) === undefined) break;
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
      reserved = addSpent(reserved, most);
      let isOpen = true;
      return () => {
        if (!isOpen) return;
        isOpen = false;
        reserved = addSpent(reserved, negative(most));
        for (const resume of waiting.splice(0)) resume();
      };
    },
  };
}

function negative({ targetCalls = 0, judgeCalls = 0, tokens = 0, money = 0 }: Partial<Spent>): Spent {
  return { targetCalls: -targetCalls, judgeCalls: -judgeCalls, tokens: -tokens, money: -money };
}

/** Caps from words such as `targetCalls=2000`. @throws FloodgateError `usage` for any other. */
export function parseBudget(words: readonly string[]): BudgetCaps {
  const caps: Partial<Record<keyof BudgetCaps, number>> = {};
  for (const word of words) {
    const [, name = '', value = ''] = /^(\w+)=(.+)$/.exec(word) ?? [];
    const cap = BUDGET_CAPS.find((each) => each === name);
    const parsed = cap === undefined ? undefined : budgetSection.unwrap().shape[cap].safeParse(Number(value));
    if (cap === undefined || parsed?.success !== true || parsed.data === undefined)
      throw new FloodgateError(
        'usage',
        `--budget: got ${word}, expected CAP=NUMBER, CAP one of ${BUDGET_CAPS.join(', ')}`,
        {
          hint: 'for example --budget targetCalls=2000 --budget hours=1.5',
        },
      );
    caps[cap] = parsed.data;
  }
  return caps;
}
