import { setTimeout as wait } from 'node:timers/promises';
import { monotonicMs } from '../base/clock.ts';
import { minOf } from '../base/long-lists.ts';

/** Runs tasks with a bound on how many are under way. */
export interface Limiter {
  /** Runs `task` when there is room, in the order of the calls. @throws the signal's reason when aborted before. */
  run<T>(task: () => Promise<T>, signal: AbortSignal): Promise<T>;
  /** The bound, as it is now. */
  readonly limit: number;
  readonly underWay: number;
}

/** Places that tasks wait for, in order. */
class Places {
  underWay = 0;
  limit: number;
  private readonly waiting = new Set<() => void>();
  /** Those that wait, by their signal, which has one listener: thousands of listeners would be walked at every call. */
  private readonly leaving = new Map<AbortSignal, { readonly tasks: Set<() => void>; release(): void }>();

  constructor(limit: number) {
    this.limit = limit;
  }

  /** @throws the signal's reason when it is aborted before there is room. */
  async enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.underWay < this.limit) this.underWay++;
    else await this.wait(signal);
  }

  private wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = (): void => {
        this.forget(signal, leave);
        resolve();
      };
      const leave = (): void => {
        this.waiting.delete(enter);
        reject(signal.reason);
      };
      this.waiting.add(enter);
      this.follow(signal).add(leave);
    });
  }

  /** The tasks that leave when the signal is aborted. */
  private follow(signal: AbortSignal): Set<() => void> {
    const known = this.leaving.get(signal);
    if (known !== undefined) return known.tasks;
    const tasks = new Set<() => void>();
    const leaveAll = (): void => {
      this.leaving.delete(signal);
      for (const leave of tasks) leave();
    };
    signal.addEventListener('abort', leaveAll, { once: true });
    this.leaving.set(signal, { tasks, release: () => signal.removeEventListener('abort', leaveAll) });
    return tasks;
  }

  private forget(signal: AbortSignal, leave: () => void): void {
    const known = this.leaving.get(signal);
    known?.tasks.delete(leave);
    if (known?.tasks.size !== 0) return;
    known.release();
    this.leaving.delete(signal);
  }

  /** Hands the place on, so that nobody takes it between the end of one task and the start of the next. */
  leave(): void {
    this.underWay--;
    this.fill();
  }

  fill(): void {
    while (this.underWay < this.limit) {
      const [next] = this.waiting;
      if (next === undefined) return;
      this.waiting.delete(next);
      this.underWay++;
      next();
    }
  }
}

export function createLimiter(limit: number): Limiter {
  const places = new Places(limit);
  return {
    get limit() {
      return places.limit;
    },
    get underWay() {
      return places.underWay;
    },
    async run(task, signal) {
      await places.enter(signal);
      try {
        signal.throwIfAborted();
        return await task();
      } finally {
        places.leave();
      }
    },
  };
}

export interface AdaptiveLimiter extends Limiter {
  /**
   * A call met a server that has too much to do. The bound is halved, once for the calls that were begun before it was.
   * @param waitMs no call begins for so long.
   */
  pressed(waitMs: number): void;
}

export interface AdaptiveLimits {
  /** Bound at the start. */
  readonly first: number;
  readonly most: number;
}

export const AUTO_LIMITS: AdaptiveLimits = { first: 4, most: 64 };

/** A round is slow when its median time is above this many times the best round's, by at least `SLOWER_MS`. */
const SLOWER = 2;
const SLOWER_MS = 50;
/** The bound after a slow round, as a share of the one before. */
const AFTER_SLOW = 0.75;
/** The best round is that of so many rounds: a server that became slower by itself is not waited for. */
const BEST_OF = 8;
/** Fewest calls of a round: a median of one or two says little. */
const LEAST_ROUND = 4;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}

/**
 * Finds how many calls a server takes at once: additive increase, multiplicative decrease. Rounds of as many calls as
 * the bound double it until the first sign of trouble, and then add one each. Trouble is `pressed`, which halves it, or
 * a slow round.
 */
export function createAdaptiveLimiter({ first, most }: AdaptiveLimits = AUTO_LIMITS): AdaptiveLimiter {
  const places = new Places(first);
  let isDoubling = true;
  let times: number[] = [];
  /** Medians of the last rounds. */
  const rounds: number[] = [];
  /** Calls begun before the last decrease say nothing about the bound since. */
  let generation = 0;
  let heldUntilMs = 0;
  /** Signs of trouble that are still to come from calls begun before the last decrease. */
  let expected = 0;

  const heldMs = (): number => heldUntilMs - monotonicMs();
  const decrease = (limit: number): void => {
    expected = places.underWay - 1;
    places.limit = Math.max(1, Math.floor(limit));
    isDoubling = false;
    times = [];
    generation++;
  };
  const endRound = (): void => {
    const ms = median(times);
    times = [];
    const bestMs = minOf([...rounds, ms]);
    rounds.push(ms);
    if (rounds.length > BEST_OF) rounds.shift();
    if (ms > SLOWER * bestMs && ms > bestMs + SLOWER_MS) {
      decrease(places.limit * AFTER_SLOW);
      return;
    }
    expected = 0;
    places.limit = Math.min(most, isDoubling ? places.limit * 2 : places.limit + 1);
    places.fill();
  };
  return {
    get limit() {
      return places.limit;
    },
    get underWay() {
      return places.underWay;
    },
    async run(task, signal) {
      await places.enter(signal);
      try {
        // The server may ask again while this waits.
        for (let held = heldMs(); held > 0 && !signal.aborted; held = heldMs())
          await wait(held, undefined, { signal }).catch(() => undefined);
        signal.throwIfAborted();
        const begun = generation;
        const startMs = monotonicMs();
        const result = await task();
        if (begun === generation) times.push(monotonicMs() - startMs);
        if (times.length >= Math.max(LEAST_ROUND, places.limit)) endRound();
        return result;
      } finally {
        places.leave();
      }
    },
    pressed: (waitMs) => {
      heldUntilMs = Math.max(heldUntilMs, monotonicMs() + waitMs);
      if (expected-- > 0) return;
      decrease(places.limit / 2);
    },
  };
}
