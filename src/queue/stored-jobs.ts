import type { Queue } from 'bullmq';
import type { PendingJob } from './pending-job.ts';

/** Of jobs that nobody asked for any more, in seconds. */
export const KEEP_SECONDS = 7 * 24 * 3600;

/** The state of a job, as Redis holds it. */
export type StoredState =
  | { readonly kind: 'missing' }
  /** It waits, or a worker has begun it. */
  | { readonly kind: 'open' }
  | { readonly kind: 'done'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly reason: string };

/** Jobs of one queue as Redis holds them. Nothing here waits for a result. */
export class StoredJobs {
  private readonly queue: Queue;

  constructor(queue: Queue) {
    this.queue = queue;
  }

  /** A job that is there already is not added again. @throws where Redis takes none. */
  async add({ id, name, signed }: Pick<PendingJob, 'id' | 'name' | 'signed'>): Promise<void> {
    const keep = { removeOnComplete: { age: KEEP_SECONDS }, removeOnFail: { age: KEEP_SECONDS } };
    await this.queue.add(name, signed, { jobId: id, ...keep });
  }

  /** @throws without a connection. */
  async stateOf(id: string): Promise<StoredState> {
    const job = await this.queue.getJob(id);
    if (job === undefined) return { kind: 'missing' };
    if (job.finishedOn === undefined) return { kind: 'open' };
    if (job.failedReason !== undefined) return { kind: 'failed', reason: job.failedReason };
    return { kind: 'done', value: job.returnvalue };
  }

  /** Removes a job, where Redis can be reached. */
  async remove(id: string): Promise<void> {
    await this.queue.remove(id).catch(() => undefined);
  }

  /** A job that a worker has begun or done stays, and a resume finds its result. */
  async removeUnbegun(id: string): Promise<void> {
    try {
      const job = await this.queue.getJob(id);
      if (job !== undefined && (await job.isWaiting())) await job.remove();
    } catch {
      // No connection, or a worker has just begun it.
    }
  }

  /** Workers of the queue that are connected now. */
  async workers(): Promise<number> {
    return this.queue.getWorkersCount();
  }

  /** Redis' own account of its work. */
  async info(): Promise<string> {
    return (await this.queue.client).info();
  }

  async close(): Promise<void> {
    await this.queue.close();
  }

  async disconnect(): Promise<void> {
    await this.queue.disconnect();
  }
}
