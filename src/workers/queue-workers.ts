import type { Job as QueuedJob, Worker } from 'bullmq';
import type { Bullmq, QueueAddress } from '../queue/connection.ts';
import { type QueueName, RUNS, SEARCHES } from '../queue/protocol.ts';
import type { Signed } from '../queue/signing.ts';

/** A job lost its lock so often because its workers were killed: that is no fault of the job. */
const MOST_STALLED = 1_000_000;
/** Between two attempts to take or to end a job while the connection is lost. */
const RETRY_MS = 250;

/** Jobs under way at once, of queues whose jobs compute. The next search is drawn while one waits for answers. */
const AT_ONCE: Readonly<Partial<Record<QueueName, number>>> = { [RUNS]: 1, [SEARCHES]: 2 };

export interface QueueWorkersPlan {
  readonly name: string;
  readonly address: QueueAddress;
  readonly take: readonly QueueName[];
  /** Jobs under way at once of one queue; `AT_ONCE` is stronger. */
  readonly concurrency: number;
  readonly lockSeconds: number;
}

/** Does one job. @param handBack gives the job to another worker, and returns the error that says so. */
export type JobProcess = (queued: QueuedJob, handBack: () => Promise<Error>) => Promise<Signed>;

/** One worker of BullMQ for each queue, not yet running. */
export function openWorkers(
  { Worker, WaitingError }: Bullmq,
  { name, address, take, concurrency, lockSeconds }: QueueWorkersPlan,
  process: JobProcess,
): Worker[] {
  const common = {
    connection: address.connection,
    prefix: address.prefix,
    name,
    autorun: false,
    lockDuration: 1000 * lockSeconds,
    lockRenewTime: (1000 * lockSeconds) / 4,
    stalledInterval: (1000 * lockSeconds) / 2,
    maxStalledCount: MOST_STALLED,
    runRetryDelay: RETRY_MS,
  };
  const work = async (job: QueuedJob, token?: string): Promise<Signed> =>
    process(job, async () => {
      await job.moveToWait(token);
      return new WaitingError();
    });
  return take.map((queue) => new Worker(queue, work, { ...common, concurrency: AT_ONCE[queue] ?? concurrency }));
}

/** The part of a BullMQ worker that tells of its connection. */
interface Watched {
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'ioredis:close' | 'ready', listener: () => void): unknown;
}

/** Says when the connection is lost, and when it is back. */
export function watchConnection(worker: Watched, shown: string, said: ((line: string) => void) | undefined): void {
  let isLost = false;
  worker.on('error', () => undefined); // those of the connection; it is tried again
  worker.on('ioredis:close', () => {
    if (!isLost) said?.(`no connection to ${shown}; it is tried again`);
    isLost = true;
  });
  worker.on('ready', () => {
    if (isLost) said?.(`connected to ${shown} again`);
    isLost = false;
  });
}
