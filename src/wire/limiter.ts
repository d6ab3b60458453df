/** Runs tasks with a bound on how many are under way. */
export interface Limiter {
  /** Runs `task` when there is room, in the order of the calls. @throws the signal's reason when aborted before. */
  run<T>(task: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

export function createLimiter(limit: number): Limiter {
  let running = 0;
  const waiting: (() => void)[] = [];
  const leave = (): void => {
    running--;
    waiting.shift()?.();
  };
  return {
    async run(task, signal) {
      if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
      running++;
      try {
        signal.throwIfAborted();
        return await task();
      } finally {
        leave();
      }
    },
  };
}
