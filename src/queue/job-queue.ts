import type { QueueEvents } from 'bullmq';
import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { type BlobRedis, type Blobs, openBlobs } from './blobs.ts';
import {
  closeSoon,
  disconnect,
  isPassing,
  loadBullmq,
  type QueueAddress,
  type RawRedis,
  requireConnection,
  watchSilence,
} from './connection.ts';
import { EventsFeed } from './events-feed.ts';
import { checkedProgress, checkedResult, givenUp, workerError } from './job-result.ts';
import {
  createPendingJob,
  FIRST_LOOK_MS,
  type Finished,
  type JobQueue,
  type PendingJob,
  type SubmitOptions,
} from './pending-job.ts';
import { ASKS, type Job, jobIdOf, parseSigned, type QueueName } from './protocol.ts';
import type { Signed, Signer } from './signing.ts';
import { StoredJobs } from './stored-jobs.ts';

/** A job that another worker may still do is given to a worker so often. */
const MOST_TRIES = 3;
const BEFORE_NEXT_TRY_MS = 500;
const MOST_LOOK_MS = 60_000;
const TICK_MS = 500;

interface QueueParts {
  readonly stored: StoredJobs;
  readonly openEvents: (lastEventId: string) => QueueEvents;
  /** Of the queue, before any job of this process. */
  readonly lastEvent: string;
  readonly blobRedis: BlobRedis;
  endWatch(): void;
}

/**
 * Jobs that wait for results. Events of the queue bring most results at once. They may be lost with a connection, so
 * Redis is also asked what became of a job: it is then found finished, or added again where Redis forgot it.
 */
class RedisJobQueue implements JobQueue {
  readonly address: QueueAddress;
  private readonly stored: StoredJobs;
  private readonly events: EventsFeed;
  private readonly signer: Signer;
  private readonly pending = new Map<string, PendingJob>();
  private readonly timer: NodeJS.Timeout;
  private readonly endWatch: () => void;
  private readonly blobRedis: BlobRedis;
  /** Jobs that are being taken out of the queue. */
  private readonly leaving: Promise<void>[] = [];
  private isClosed = false;

  constructor(address: QueueAddress, signer: Signer, parts: QueueParts) {
    const { stored, openEvents, lastEvent } = parts;
    this.address = address;
    this.endWatch = parts.endWatch;
    this.blobRedis = parts.blobRedis;
    this.signer = signer;
    this.stored = stored;
    this.events = new EventsFeed(openEvents, lastEvent, {
      completed: (id, value) => this.completed(id, value),
      failed: (id, reason) => this.again(id, () => givenUp(reason)),
      duplicated: (id) => void this.look(id),
      progressed: (id, value) => this.progressed(id, value),
    });
    this.timer = setInterval(() => this.lookAtLate(), TICK_MS);
  }

  /** Events may be lost with a connection, and jobs with a Redis that was killed: every job is looked at. */
  reconnected(): void {
    if (this.isClosed) return;
    this.events.renew();
    for (const each of this.pending.values()) {
      each.lookMs = 0;
      each.waitMs = FIRST_LOOK_MS / 2;
    }
  }

  async workers(): Promise<number> {
    return this.stored.workers();
  }

  async info(): Promise<string> {
    return this.stored.info();
  }

  async has(job: Job): Promise<boolean> {
    return (await this.stored.stateOf(jobIdOf(this.signer.sign('job', job)))).kind !== 'missing';
  }

  blobs(owner: string, keepSeconds?: number): Blobs {
    const keep = keepSeconds === undefined ? {} : { keepSeconds };
    return openBlobs(this.blobRedis, { prefix: this.address.prefix, owner, ...keep });
  }

  async submit(job: Job, signal: AbortSignal, { heard, prepare }: SubmitOptions = {}): Promise<Finished> {
    if (this.isClosed) throw new FloodgateError('run', 'queue: used after close');
    signal.throwIfAborted();
    const signed = this.signer.sign('job', job);
    const id = jobIdOf(signed);
    const pending = this.pending.get(id) ?? this.begin(id, job.kind, signed);
    pending.heard ??= heard;
    pending.prepare ??= prepare;
    const leave = (): void => this.leave(pending, signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await pending.promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  private begin(id: string, name: string, signed: Signed): PendingJob {
    const pending = createPendingJob(id, name, signed);
    this.pending.set(id, pending);
    queueMicrotask(() => void this.add(pending)); // behind whoever submits it
    return pending;
  }

  private async add(pending: PendingJob): Promise<void> {
    if (pending.isAdding) return;
    pending.isAdding = true;
    try {
      await pending.prepare?.();
      await this.stored.add(pending);
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      if (this.isClosed || isPassing(words)) return; // the next look finds it missing, and adds it
      this.end(pending, new FloodgateError('run', `queue: ${this.address.shown} takes no job: ${words}`));
    } finally {
      pending.isAdding = false;
    }
  }

  private completed(id: string, value: unknown): void {
    const pending = this.pending.get(id);
    if (pending === undefined) return; // of another run, or a second result of one job
    const signed = parseSigned(value);
    const result = signed === undefined ? 'it is of another form' : checkedResult(id, signed, this.signer);
    if (typeof result === 'string') {
      this.again(id, () => new FloodgateError('run', `queue: the result of a job is refused: ${result}`));
      return;
    }
    const { outcome, worker } = result;
    if (outcome.kind === 'error') {
      this.again(id, () => workerError(worker, outcome));
      return;
    }
    this.pending.delete(id);
    pending.resolve({ outcome, worker, release: () => void this.stored.remove(id) });
  }

  private progressed(id: string, value: unknown): void {
    const pending = this.pending.get(id);
    const signed = pending === undefined ? undefined : parseSigned(value);
    const line = signed === undefined ? undefined : checkedProgress(id, signed, this.signer);
    if (line !== undefined) pending?.heard?.(line);
  }

  /** Another worker may do it. */
  private again(id: string, reason: () => FloodgateError): void {
    const pending = this.pending.get(id);
    if (pending === undefined) return;
    if (pending.tries >= MOST_TRIES) {
      void this.stored.remove(id);
      this.end(pending, reason());
      return;
    }
    const wait = BEFORE_NEXT_TRY_MS * pending.tries++;
    pending.lookMs = monotonicMs() + MOST_LOOK_MS;
    setTimeout(() => {
      if (!this.isClosed && this.pending.get(id) === pending) void this.addAnew(pending);
    }, wait);
  }

  private async addAnew(pending: PendingJob): Promise<void> {
    pending.lookMs = monotonicMs() + FIRST_LOOK_MS;
    await this.stored.remove(pending.id);
    await this.add(pending);
  }

  private lookAtLate(): void {
    const now = monotonicMs();
    for (const pending of this.pending.values()) {
      if (pending.lookMs > now) continue;
      pending.waitMs = Math.min(2 * pending.waitMs, MOST_LOOK_MS);
      pending.lookMs = now + pending.waitMs;
      void this.look(pending.id);
    }
  }

  /** Asks Redis what became of a job. */
  private async look(id: string): Promise<void> {
    const pending = this.pending.get(id);
    if (pending === undefined) return;
    try {
      const state = await this.stored.stateOf(id);
      if (this.isClosed || this.pending.get(id) !== pending) return;
      if (state.kind === 'missing') await this.add(pending);
      else if (state.kind === 'failed') this.again(id, () => givenUp(state.reason));
      else if (state.kind === 'done') this.completed(id, state.value);
    } catch {
      // No connection: the next look asks again.
    }
  }

  private leave(pending: PendingJob, reason: unknown): void {
    if (this.pending.get(pending.id) !== pending) return;
    this.leaving.push(this.stored.removeUnbegun(pending.id));
    this.end(pending, reason);
  }

  private end(pending: PendingJob, reason: unknown): void {
    this.pending.delete(pending.id);
    pending.reject(reason);
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    clearInterval(this.timer);
    this.endWatch();
    const { stored, events } = this;
    for (const pending of this.pending.values()) this.end(pending, new FloodgateError('run', 'queue: it was closed'));
    await closeSoon(
      async () => {
        await Promise.all(this.leaving);
        await events.close();
        await stored.close();
      },
      async () => {
        await Promise.all([events.disconnect(), stored.disconnect()]);
      },
    );
  }
}

/**
 * @param said told once when the connection is lost, and when it is back.
 * @param name its jobs alone are submitted.
 */
export async function openJobQueue(
  address: QueueAddress,
  signer: Signer,
  said: (line: string) => void = () => undefined,
  name: QueueName = ASKS,
): Promise<JobQueue> {
  const { Queue, QueueEvents } = await loadBullmq();
  const { connection, prefix, shown } = address;
  const queue = new Queue(name, { connection, prefix });
  queue.on('error', () => undefined);
  try {
    await requireConnection(queue, address);
  } catch (error) {
    await disconnect(queue); // not connected yet: nothing is waited for
    throw error;
  }
  const client = (await queue.client) as unknown as RawRedis & BlobRedis;
  // Events from here on: those of a job that is done before the first read would be lost.
  const [last] = await client.xrevrange(queue.toKey('events'), '+', '-', 'COUNT', 1);
  const jobs = new RedisJobQueue(address, signer, {
    stored: new StoredJobs(queue),
    openEvents: (lastEventId) => new QueueEvents(name, { connection, prefix, lastEventId }),
    lastEvent: last?.[0] ?? '0-0',
    endWatch: watchSilence(client),
    blobRedis: client,
  });
  let isLost = false;
  queue.on('ioredis:close', () => {
    if (!isLost) said(`queue: no connection to ${shown}; jobs wait until it is back`);
    isLost = true;
  });
  client.on('ready', () => {
    if (isLost) said(`queue: connected to ${shown} again`);
    isLost = false;
    jobs.reconnected();
  });
  return jobs;
}
