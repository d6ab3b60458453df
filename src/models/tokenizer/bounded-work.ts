import vm from 'node:vm';
import { FloodgateError } from '../../base/errors.ts';

export interface WorkLimit {
  /** Processor time that the work may take, in milliseconds. */
  readonly limitMs: number;
  /** Begins the message: which part of which file asked for the work. */
  readonly operation: string;
  /** The file or key to change. */
  readonly hint: string;
}

/** Longest wait for a process that gets little processor time, as a multiple of the limit. */
const MAX_PATIENCE = 8;

const context = vm.createContext({ run: undefined as (() => void) | undefined });
const script = new vm.Script('run()');
let isInside = false;

function isTimeout(error: unknown): boolean {
  // The error belongs to another realm, so that `instanceof Error` is false.
  return (
    typeof error === 'object' && error !== null && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
  );
}

/**
 * Returns the result of `work`, and stops it when it runs too long. Work inside other bounded work has no limit of its
 * own. `work` is repeated where the process got no processor time, so it must have no effect but its result.
 *
 * The means is `vm.Script.runInContext` with a timeout: the engine stops loops there, and the backtracking of regular
 * expressions too. Measured with Node 20 on two shared cores: 0.04 to 0.08 ms a call. A worker takes 140 ms to start,
 * 0.01 to 0.06 ms a call and 10 MB or more, and its `resourceLimits` protect nothing here. A single large allocation
 * in it (`toUpperCase` of 256 MB, `split` of 200 MB under a limit of 64 MB) aborts the whole process, exit code 134.
 * Memory is therefore counted before it is taken: by `GrowthLimit` and by `WorkMeter`.
 * @throws `format` after `limitMs`; what `work` throws is passed on
 */
export function runWithin<T>(limit: WorkLimit, work: () => T): T {
  if (isInside) return work();
  const { limitMs, operation, hint } = limit;
  const started = process.cpuUsage();
  for (let timeout = limitMs; ; timeout *= 2) {
    try {
      return runScript(timeout, work);
    } catch (error) {
      if (!isTimeout(error)) throw error;
      const { user, system } = process.cpuUsage(started);
      const isStarved = (user + system) / 1000 < 0.9 * limitMs; // stopped by a signal, or one of many processes
      if (!isStarved || timeout >= MAX_PATIENCE * limitMs) {
        throw new FloodgateError('format', `${operation}: stopped after ${timeout} ms, expected to end by itself`, {
          hint,
        });
      }
    }
  }
}

function runScript<T>(timeout: number, work: () => T): T {
  const results: T[] = [];
  context.run = () => {
    results.push(work());
  };
  isInside = true;
  try {
    script.runInContext(context, { timeout });
  } finally {
    isInside = false;
    context.run = undefined;
  }
  return results[0] as T;
}
