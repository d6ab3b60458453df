/** Runs tasks with a bound on how many are under way. */
export interface Limiter {
  /** Runs `task` when there is room, in the order of the calls. @throws the signal's reason when aborted before. */
  run<T>(task: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

export function createLimiter(limit: number): Limiter {
  let running = 0;
  const waiting: (() => void)[] = [];
  /** Hands the place on, so that nobody takes it between the end of one task and the start of the next. */
  const leave = (): void => {
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  };
  return {
    async run(task, signal) {
      if (running < limit) running++;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        signal.throwIfAborted();
        return await task();
      } finally {
        leave();
      }
    },
  };
}
