import { setTimeout as wait } from 'node:timers/promises';
import { monotonicMs } from '../base/clock.ts';

/** How much may be sent; an absent limit is none. */
export interface PaceLimits {
  readonly requestsPerMinute?: number | undefined;
  /** Sent and generated ones together, as far as they are known before the call. */
  readonly tokensPerMinute?: number | undefined;
}

/** Spreads requests over time. */
export interface Pace {
  /** Waits until one more request of so many tokens may be sent. @throws the signal's reason on abort. */
  take(tokens: number, signal: AbortSignal): Promise<void>;
}

/** Seconds of a limit that may be used at once. Short, so that no window of a minute has much more than its limit. */
const BURST_SECONDS = 1;

/** A bucket that fills evenly. One take may empty it below 0; the next one waits for that. */
class Bucket {
  private readonly perMs: number;
  private readonly size: number;
  private level: number;
  private atMs = monotonicMs();

  constructor(perMinute: number) {
    this.perMs = perMinute / 60_000;
    this.size = Math.max(1, BURST_SECONDS * 1000 * this.perMs);
    this.level = this.size;
  }

  /** Takes the amount; returns the milliseconds until it was there. */
  take(amount: number): number {
    const now = monotonicMs();
    this.level = Math.min(this.size, this.level + (now - this.atMs) * this.perMs) - amount;
    this.atMs = now;
    return this.level >= 0 ? 0 : -this.level / this.perMs;
  }
}

/** Undefined where nothing limits. */
export function createPace({ requestsPerMinute, tokensPerMinute }: PaceLimits): Pace | undefined {
  if (requestsPerMinute === undefined && tokensPerMinute === undefined) return undefined;
  const requests = requestsPerMinute === undefined ? undefined : new Bucket(requestsPerMinute);
  const tokens = tokensPerMinute === undefined ? undefined : new Bucket(tokensPerMinute);
  return {
    take: async (amount, signal) => {
      const pause = Math.max(requests?.take(1) ?? 0, tokens?.take(amount) ?? 0);
      if (pause > 0) await wait(pause, undefined, { signal }).catch(() => undefined);
      signal.throwIfAborted();
    },
  };
}
