import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as (options?: { type: 'minor' }) => void;

/** Young objects allowed to pile up before they are collected between two inputs. */
const YOUNG_BYTES = 12 * 2 ** 20;
const FULL_EVERY = 2_000;

export interface MemoryMeter {
  /** Starts a measurement; collects garbage first where little room is left. */
  start(): void;
  /**
   * Bytes allocated since: V8's heap and everything outside it that V8 knows of (buffers), garbage included. With no
   * collection in between this is what was allocated, so no less than the peak.
   */
  stop(): number;
  /** Whether the collector ran inside any of these times (ms), in which case `stop` may have said too little. */
  collectedWithin(startMs: number, endMs: number): boolean;
  /** Lets the collector's reports in. */
  settle(): Promise<void>;
}

/**
 * Returns a meter for one worker. The worker needs a young generation far larger than an input may allocate
 * (`maxYoungGenerationSizeMb`), so that the collector runs only between inputs, when the meter calls it.
 */
export function createMemoryMeter(): MemoryMeter {
  const collections: { startMs: number; endMs: number }[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) {
      collections.push({ startMs: startTime, endMs: startTime + duration });
    }
    collections.splice(0, Math.max(0, collections.length - 1_000));
  });
  observer.observe({ entryTypes: ['gc'] });
  const usedBytes = (): number => {
    const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
    return heap + external;
  };
  let floor = usedBytes();
  let before = 0;
  let measured = 0;
  return {
    start: () => {
      measured++;
      if (measured % FULL_EVERY === 0 || usedBytes() - floor > YOUNG_BYTES) {
        collectGarbage(measured % FULL_EVERY === 0 ? undefined : { type: 'minor' });
        floor = usedBytes();
      }
      before = usedBytes();
    },
    stop: () => usedBytes() - before,
    collectedWithin: (startMs, endMs) => collections.some((gc) => gc.startMs < endMs && gc.endMs > startMs),
    settle: () => new Promise((resolve) => setTimeout(resolve, 0)),
  };
}
