import { FloodgateError } from '../base/errors.ts';
import type { Exchange, Judge, Verdict } from './judge.ts';

export interface BatchedJudgeOptions {
  readonly name: string;
  /** Exchanges of one call, to bound the memory of many; all at once when absent. */
  readonly maxBatch?: number;
  /** One verdict an exchange, in order. */
  scoreBatch(exchanges: readonly Exchange[]): Promise<Verdict[]>;
  /** Lets go of what the judge stands on; called once. */
  release?(): Promise<void>;
}

/** A judge that scores batch by batch, refuses to be used after it was closed, and may be closed twice. */
export function createBatchedJudge(options: BatchedJudgeOptions): Judge {
  const { name, maxBatch = Number.POSITIVE_INFINITY } = options;
  let isClosed = false;
  return {
    name,
    async score(exchanges: readonly Exchange[]): Promise<Verdict[]> {
      if (isClosed) throw new FloodgateError('judge', `${name}: used after close`);
      const verdicts: Verdict[] = [];
      for (let start = 0; start < exchanges.length; start += maxBatch) {
        for (const verdict of await options.scoreBatch(exchanges.slice(start, start + maxBatch)))
          verdicts.push(verdict);
      }
      return verdicts;
    },
    async close(): Promise<void> {
      if (isClosed) return;
      isClosed = true;
      await options.release?.();
    },
  };
}
