import { setMaxListeners } from 'node:events';
import type { Budget } from './budget.ts';
import { BudgetSpent } from './budget-spent.ts';

/** Longest time that a timer takes, in ms. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Stops the run once its budget is spent and no call is under way any more. Time is spent without calls too, so a timer
 * watches it: a stage hears the signal at its next batch.
 */
export class BudgetStop {
  /** Why the budget ended the run; undefined where it did not. */
  spent: BudgetSpent | undefined;
  private readonly controller = new AbortController();
  private readonly outer: AbortSignal;
  private readonly budget: Budget;
  private readonly follow = (): void => this.controller.abort(this.outer.reason);
  private underWay = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(outer: AbortSignal, budget: Budget) {
    this.outer = outer;
    this.budget = budget;
    setMaxListeners(0, this.controller.signal);
    if (outer.aborted) this.follow();
    else outer.addEventListener('abort', this.follow, { once: true });
    this.watchTime();
  }

  /** Aborted by the caller, and when the budget is spent: whoever works stops as at an interrupt. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** The work of calls. A budget that is spent meanwhile waits for it, so that no paid answer is lost. */
  async heed<T>(work: Promise<T>): Promise<T> {
    this.underWay++;
    try {
      return await work;
    } catch (error) {
      if (error instanceof BudgetSpent) this.spent ??= error;
      throw error;
    } finally {
      this.underWay--;
      this.stopWhenIdle();
    }
  }

  release(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.outer.removeEventListener('abort', this.follow);
  }

  private stopWhenIdle(): void {
    if (this.underWay > 0 || this.signal.aborted) return;
    this.spent ??= this.budget.timeSpent();
    if (this.spent !== undefined) this.controller.abort();
  }

  private watchTime(): void {
    this.stopWhenIdle();
    const ms = 1000 * this.budget.secondsLeft;
    if (this.signal.aborted || ms === Number.POSITIVE_INFINITY || ms <= 0) return;
    this.timer = setTimeout(() => this.watchTime(), Math.min(Math.ceil(ms), LONGEST_TIMER_MS));
    this.timer.unref();
  }
}
