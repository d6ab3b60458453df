import { maxOf } from '../../src/base/long-lists.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';

/** Measured costs: those of `queue scaling`, and of a run's own log. */
export interface SimulationOptions {
  /** Attacks of one update, each one job. */
  readonly batch: number;
  /** Time of a job on its worker, ms. */
  readonly job: number;
  /** Jobs at once of a worker. */
  readonly concurrency: number;
  /** Processor time of the learner and of Redis for one job, ms. */
  readonly learner: number;
  readonly redis: number;
  /** The learner's own work of an update, ms. */
  readonly update: number;
}

export const WORKERS = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** A server that does one thing after the other; returns when each is done. */
class Serial {
  private freeMs = 0;

  done(atMs: number, ms: number): number {
    this.freeMs = Math.max(this.freeMs, atMs) + ms;
    return this.freeMs;
  }
}

/** The earliest free of many places. */
class Places {
  private readonly freeMs: number[];

  constructor(count: number) {
    this.freeMs = Array.from({ length: count }, () => 0);
  }

  done(atMs: number, ms: number): number {
    let first = 0;
    for (const [place, free] of this.freeMs.entries()) if (free < (this.freeMs[first] as number)) first = place;
    const end = Math.max(this.freeMs[first] as number, atMs) + ms;
    this.freeMs[first] = end;
    return end;
  }
}

/**
 * Milliseconds of one update with so many workers. Each job passes the learner and Redis, a place of a worker, and both
 * again. Half of the two costs is on the way there.
 */
export function simulateUpdate(workers: number, options: SimulationOptions): number {
  const { batch, job, concurrency, learner, redis, update } = options;
  const sides = { learner: new Serial(), redis: new Serial(), places: new Places(workers * concurrency) };
  const answered = Array.from({ length: batch }, () => {
    const queued = sides.redis.done(sides.learner.done(0, learner / 2), redis / 2);
    return sides.places.done(queued, job);
  }).sort((a, b) => a - b);
  // Results come back in the order of their ends, behind what the two still have to do.
  const ends = answered.map((ms) => sides.learner.done(sides.redis.done(ms, redis / 2), learner / 2));
  return maxOf([0, ...ends]) + update;
}

/** `npm run lab -- queue simulate`. */
export function reportSimulation(options: SimulationOptions, context: CliContext): void {
  const alone = simulateUpdate(1, options);
  const found = WORKERS.map((workers) => {
    const ms = simulateUpdate(workers, options);
    return { workers, seconds: ms / 1000, speedUp: alone / ms, share: alone / ms / workers };
  });
  const head = ['workers', 'seconds an update', 'times as fast as one', 'share of the ideal'];
  const rows = found.map(({ workers, seconds, speedUp, share }) => [
    String(workers),
    seconds.toFixed(2),
    speedUp.toFixed(1),
    share.toFixed(2),
  ]);
  printResult(context, { text: alignColumns([head, ...rows]), json: { ...options, found } });
}
