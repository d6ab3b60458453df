import type { Exchange, Judge, Verdict } from '../judges/judge.ts';
import type { AskOptions, Target, TargetAnswer, TargetRequest } from '../targets/target.ts';

/** Calls made: the user pays for them. */
export interface Calls {
  /** Responses sampled from the target. */
  readonly targetCalls: number;
  /** Exchanges scored by judges. */
  readonly judgeCalls: number;
  /** Tokens that the target generated. */
  readonly tokens: number;
}

export const NO_CALLS: Calls = { targetCalls: 0, judgeCalls: 0, tokens: 0 };

/** Counts calls until its owner stores them. */
export interface Ledger {
  /** Calls since the last `take`. */
  readonly calls: Calls;
  add(calls: Partial<Calls>): void;
  /** Returns the calls since the last `take` and restarts the count at 0. */
  take(): Calls;
}

/** @param from initial count: the calls that were counted before an interruption. */
export function createLedger(from: Calls = NO_CALLS): Ledger {
  let calls = from;
  return {
    get calls() {
      return calls;
    },
    add: ({ targetCalls = 0, judgeCalls = 0, tokens = 0 }) => {
      calls = {
        targetCalls: calls.targetCalls + targetCalls,
        judgeCalls: calls.judgeCalls + judgeCalls,
        tokens: calls.tokens + tokens,
      };
    },
    take: () => {
      const taken = calls;
      calls = NO_CALLS;
      return taken;
    },
  };
}

/** The target with every answer counted in `ledger`. */
export function countAnswers(target: Target, ledger: Ledger): Target {
  return {
    name: target.name,
    async ask(requests: readonly TargetRequest[], options: AskOptions): Promise<TargetAnswer[][]> {
      const answers = await target.ask(requests, options);
      for (const { usage } of answers.flat()) ledger.add({ targetCalls: usage.calls, tokens: usage.tokens });
      return answers;
    },
    close: () => target.close(),
  };
}

/** The judge with every exchange that it scores counted in `ledger`. */
export function countVerdicts(judge: Judge, ledger: Ledger): Judge {
  return {
    name: judge.name,
    async score(exchanges: readonly Exchange[], options?: { readonly signal?: AbortSignal }): Promise<Verdict[]> {
      const verdicts = await judge.score(exchanges, options);
      ledger.add({ judgeCalls: exchanges.length });
      return verdicts;
    },
    close: () => judge.close(),
  };
}
