import { monotonicMs } from '../base/clock.ts';
import type { Blobs } from './blobs.ts';
import type { QueueAddress } from './connection.ts';
import type { Job, Outcome } from './protocol.ts';
import type { Signed } from './signing.ts';

/** The result of a job, until it is released. */
export interface Finished {
  readonly outcome: Outcome;
  readonly worker: string;
  /** The result is stored elsewhere: Redis may forget it. A process that is killed before finds it there again. */
  release(): void;
}

export interface SubmitOptions {
  /** Told how far the job is, where its worker says so. */
  readonly heard?: (line: string) => void;
  /** Puts beside the job what it names: called before it is added, each time. */
  readonly prepare?: () => Promise<unknown>;
}

/** The learner's side of the queue. */
export interface JobQueue {
  readonly address: QueueAddress;
  /**
   * Puts a job into the queue, once, however often it is submitted. @throws FloodgateError of a worker that cannot do
   * it; the signal's reason on abort.
   */
  submit(job: Job, signal: AbortSignal, options?: SubmitOptions): Promise<Finished>;
  /** Whether Redis knows the job: waiting, begun, or with a result that nobody has released. */
  has(job: Job): Promise<boolean>;
  /** Bytes that jobs name by their hash. @param owner a run or a study. */
  blobs(owner: string, keepSeconds?: number): Blobs;
  /** Workers that are connected now. */
  workers(): Promise<number>;
  /** Redis' own account of its work. */
  info(): Promise<string>;
  close(): Promise<void>;
}

/** A job is looked at after so long without news, then after twice as long. */
export const FIRST_LOOK_MS = 3000;

/** A job that waits for its result. */
export interface PendingJob {
  readonly id: string;
  readonly name: string;
  readonly signed: Signed;
  prepare: SubmitOptions['prepare'];
  readonly promise: Promise<Finished>;
  resolve(finished: Finished): void;
  reject(error: unknown): void;
  heard: SubmitOptions['heard'];
  /** It is on its way into Redis: what goes with it may be large. */
  isAdding: boolean;
  tries: number;
  /** When Redis is asked what became of it. */
  lookMs: number;
  waitMs: number;
}

export function createPendingJob(id: string, name: string, signed: Signed): PendingJob {
  let resolve: PendingJob['resolve'] = () => undefined;
  let reject: PendingJob['reject'] = () => undefined;
  const promise = new Promise<Finished>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  const lookMs = monotonicMs() + FIRST_LOOK_MS;
  return {
    ...{ id, name, signed, promise, resolve, reject, heard: undefined, prepare: undefined },
    ...{ isAdding: false, tries: 1, lookMs, waitMs: FIRST_LOOK_MS },
  };
}
