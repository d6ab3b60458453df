import { FloodgateError } from '../base/errors.ts';

/** Sums that a run has paid for; they only grow. */
export interface Spent {
  /** Responses asked of the target, failed ones included. */
  readonly targetCalls: number;
  /** Exchanges given to judges. */
  readonly judgeCalls: number;
  /** Tokens that the target generated. */
  readonly tokens: number;
  /** In the currency of the price table; 0 without one. */
  readonly money: number;
}

export const NOTHING_SPENT: Spent = { targetCalls: 0, judgeCalls: 0, tokens: 0, money: 0 };

export function addSpent(a: Spent, b: Partial<Spent>): Spent {
  return {
    targetCalls: a.targetCalls + (b.targetCalls ?? 0),
    judgeCalls: a.judgeCalls + (b.judgeCalls ?? 0),
    tokens: a.tokens + (b.tokens ?? 0),
    money: a.money + (b.money ?? 0),
  };
}

/** Calls that were begun and whose answers have not come. */
export type Unanswered = Pick<Spent, 'targetCalls' | 'judgeCalls'>;

/**
 * Paid answers and verdicts of a run, each written the moment it arrives, and the sum of what was paid. A process that
 * is killed loses at most the calls under way.
 */
export interface CallLog {
  /** The value kept under `key`; undefined where there is none. */
  find(key: string): string | undefined;
  /**
   * Stores `value` together with its price, and counts `came` as answered: all or nothing. A later value of one key
   * replaces the earlier one.
   */
  keep(key: string, value: string, paid: Partial<Spent>, came?: Partial<Unanswered>): void;
  /** Runs `work`; all that it keeps, spends and fails is stored, or none of it. */
  together(work: () => void): void;
  /** Adds the price of a call that left nothing to keep. */
  spend(paid: Partial<Spent>): void;
  /** As `keep`, for a call that failed: lists its reason under `key` until a value is kept there. */
  fail(key: string, reason: string, paid: Partial<Spent>, came?: Partial<Unanswered>): void;
  /** Notes calls before they are made, so that a process that is killed leaves their number. */
  begin(calls: Partial<Unanswered>): void;
  /** The answers of calls that were begun have come, or it is known that none will. */
  answered(calls: Partial<Unanswered>): void;
  /**
   * Calls that were begun and never answered: those under way now, and those that a kill or an abort broke off. Each is
   * asked again by a resume, so it may have been paid twice.
   */
  readonly unanswered: Unanswered;
  /** Counts the unanswered calls from 0 again. For the only process that works on the run, before its first call. */
  forgetUnanswered(): void;
  /** Reasons of the calls that failed and were not answered since. */
  failures(): { readonly key: string; readonly reason: string }[];
  /** Values that are kept. */
  readonly size: number;
  /** Sum over every process that worked on the run. */
  readonly spent: Spent;
  /** Seconds that processes have worked on the run. */
  readonly seconds: number;
  close(): void;
}

/** Told the end of calls that were begun. `isBrokenOff`: they were made, and their answers never come. */
export type EndOfBegun = (isBrokenOff?: boolean) => void;

/**
 * The calls under way of one request, or of several that are answered together. An answer is counted in the moment that
 * stores it. Calls that end without one are counted at their end: a request may be made twice for the same answers.
 */
export class BegunCalls {
  private arrived = 0;
  private ended = 0;
  private counted = 0;
  private readonly log: Pick<CallLog, 'begin' | 'answered'>;
  private readonly of: keyof Unanswered;

  constructor(log: Pick<CallLog, 'begin' | 'answered'>, of: keyof Unanswered) {
    this.log = log;
    this.of = of;
  }

  /** Notes that `calls` begin; the result notes their end, once. */
  begin(calls: number): EndOfBegun {
    this.log.begin({ [this.of]: calls });
    let isOpen = true;
    return (isBrokenOff = false) => {
      if (!isOpen || isBrokenOff) return;
      isOpen = false;
      this.ended += calls;
      const rest = this.uncounted();
      if (rest[this.of] === 0) return;
      try {
        this.log.answered(rest);
      } catch (error) {
        // A full disk: the count stays too high, and the next answer that cannot be kept ends the work.
        if (!(error instanceof FloodgateError)) throw error;
      }
    };
  }

  /** One more answer has come; the result is for `keep` or `fail`, which counts it. */
  came(): Partial<Unanswered> {
    this.arrived++;
    return this.uncounted();
  }

  /** Calls that have come to their end by now, by either count, and were not counted yet. */
  private uncounted(): Partial<Unanswered> {
    const rest = Math.max(this.arrived, this.ended) - this.counted;
    this.counted += rest;
    return { [this.of]: rest };
  }
}
