/** Milliseconds since the epoch. The only door to the wall clock, so that tests and resume can reason about it. */
export function nowMs(): number {
  return Date.now();
}

/** Monotonic milliseconds, for durations: a clock set back does not change it. */
export function monotonicMs(): number {
  return performance.now();
}
