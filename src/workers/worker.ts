import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import type { Job as QueuedJob } from 'bullmq';
import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { type ProgressSink, silentProgress } from '../base/progress.ts';
import {
  closeSoon,
  loadBullmq,
  queueAddress,
  type RawRedis,
  requireConnection,
  watchSilence,
} from '../queue/connection.ts';
import { checkedResult } from '../queue/job-result.ts';
import { ASKS, type Job, jobIdOf, PROTOCOL, parseJob, parseQueued } from '../queue/protocol.ts';
import { type QueueConfig, queueSection } from '../queue/queue-section.ts';
import { openSigner, type Signed, type Signer } from '../queue/signing.ts';
import { readOnlyVariables } from '../wire/secrets.ts';
import { PartsCache } from './opened-parts.ts';
import { performJob, type WorkerCounts } from './perform-job.ts';
import type { Permissions } from './permissions.ts';

/** Jobs under way at once, where nothing says otherwise. */
export const DEFAULT_CONCURRENCY = 16;
/** A worker that was silent for so long has lost its jobs to others. */
export const DEFAULT_LOCK_SECONDS = 60;

export interface WorkerOptions {
  readonly queue: { readonly url: string; readonly prefix?: string; readonly caFile?: string };
  /** Jobs under way at once. */
  readonly concurrency?: number;
  readonly lockSeconds?: number;
  /** Threads of the model runtime; those of the run's config when absent. */
  readonly threads?: number;
  readonly permissions?: Permissions;
  /** Environment variables that configs from the queue may name. */
  readonly variables?: readonly string[];
  readonly cacheDir?: string;
  readonly progress?: ProgressSink;
  /** Hands the jobs in hand back, and ends the work. */
  readonly signal: AbortSignal;
  /** Told each line that a person should know of. */
  said?(line: string): void;
}

/** A job lost its lock so often because its workers were killed: that is no fault of the job. */
const MOST_STALLED = 1_000_000;
/** Between two attempts to take or to end a job while the connection is lost. */
const RETRY_MS = 250;
/** A refused job is told at most so often. */
const MOST_TOLD = 20;

function parseQueue(given: WorkerOptions['queue']): QueueConfig {
  const parsed = queueSection.unwrap().safeParse(given);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new FloodgateError(
    'usage',
    `--${issue?.path[0] === 'url' ? 'queue' : issue?.path.join('.')}: ${issue?.message}`,
  );
}

interface ReadJob {
  readonly job: Job;
  /** Of another worker that lost the job's lock; undefined in most cases. */
  readonly result: Signed | undefined;
}

/** A job that is signed as it should be. @throws Error saying why it is refused. */
function readJob(id: string | undefined, data: unknown, signer: Signer): ReadJob {
  const queued = parseQueued(data);
  const problem = queued === undefined ? 'it is of another form' : signer.problemOf('job', queued.job);
  if (queued === undefined || problem !== undefined) throw new Error(problem);
  if (jobIdOf(queued.job) !== id) throw new Error('its id is that of another job');
  const job = parseJob(queued.job.payload);
  if (typeof job === 'string') throw new Error(job);
  const { result } = queued;
  const isResult = result !== undefined && typeof checkedResult(id, result, signer) !== 'string';
  return { job, result: isResult ? result : undefined };
}

/** The work of a worker on each job. */
class Processing {
  readonly counts: WorkerCounts = { jobs: 0, answers: 0, verdicts: 0, handedBack: 0, refused: 0 };
  private readonly handedBack = new Set<string | undefined>();
  private readonly name: string;
  private readonly signer: Signer;
  private readonly cache: PartsCache;
  private readonly options: WorkerOptions;

  constructor(name: string, signer: Signer, cache: PartsCache, options: WorkerOptions) {
    this.name = name;
    this.signer = signer;
    this.cache = cache;
    this.options = options;
  }

  /** @param handBack gives the job to another worker, and returns the error that says so. */
  async process(queued: QueuedJob, handBack: () => Promise<Error>): Promise<Signed> {
    const { job, result: known } = this.read(queued);
    if (known !== undefined) return known;
    const { signal, lockSeconds = DEFAULT_LOCK_SECONDS } = this.options;
    const beganMs = monotonicMs();
    try {
      signal.throwIfAborted();
      const outcome = await performJob(job, this.cache, this.counts, signal);
      if (outcome.kind === 'error') this.options.said?.(`cannot do a job (${job.kind}): ${outcome.message}`);
      const result = this.signer.sign('result', { version: PROTOCOL, job: queued.id, worker: this.name, outcome });
      // Code that blocks the event loop keeps the lock from being renewed: another worker has begun the job, and would
      // lose its lock in the same way. Whoever takes the job next finds this result.
      if (monotonicMs() - beganMs > 500 * lockSeconds) await queued.updateData({ ...queued.data, result });
      return result;
    } catch (error) {
      if (!signal.aborted) throw error;
      this.handedBack.add(queued.id); // BullMQ may take it once more while it closes, and hand it back again
      this.counts.handedBack = this.handedBack.size;
      throw await handBack();
    }
  }

  private read({ id, data }: QueuedJob): ReadJob {
    try {
      return readJob(id, data, this.signer);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.counts.refused++ < MOST_TOLD) this.options.said?.(`refuses a job: ${reason}`);
      throw new Error(`worker ${this.name} refuses the job: ${reason}`);
    }
  }
}

/**
 * Does jobs of a queue until the signal is aborted. Returns what it did.
 * @param ready told the worker's name once Redis has answered.
 * @throws FloodgateError `usage` where bullmq is missing; `config` for a missing key; `run` when Redis does not answer.
 */
export async function runWorker(
  options: WorkerOptions,
  ready: (name: string) => void = () => undefined,
): Promise<WorkerCounts> {
  const { concurrency = DEFAULT_CONCURRENCY, lockSeconds = DEFAULT_LOCK_SECONDS, signal, said } = options;
  const { Worker, WaitingError } = await loadBullmq();
  setMaxListeners(0, signal); // one listener for each call under way
  const address = queueAddress(parseQueue(options.queue));
  const signer = openSigner(address.isLoopback);
  const restore = readOnlyVariables(options.variables ?? []);
  const { cacheDir, progress = silentProgress, permissions = { code: [], files: [] }, threads } = options;
  const io = { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) };
  const cache = new PartsCache({ io, permissions, threads });
  const name = `${hostname()}:${process.pid}`;
  const processing = new Processing(name, signer, cache, options);
  const worker = new Worker(
    ASKS,
    async (job, token) =>
      processing.process(job, async () => {
        await job.moveToWait(token);
        return new WaitingError();
      }),
    {
      connection: address.connection,
      prefix: address.prefix,
      name,
      concurrency,
      autorun: false,
      lockDuration: 1000 * lockSeconds,
      lockRenewTime: (1000 * lockSeconds) / 4,
      stalledInterval: (1000 * lockSeconds) / 2,
      maxStalledCount: MOST_STALLED,
      runRetryDelay: RETRY_MS,
    },
  );
  watchConnection(worker, address.shown, said);
  // Before any job hears of the end: one that is handed back is then not taken again.
  signal.addEventListener('abort', () => void worker.close().catch(() => undefined), { once: true });
  let endWatch = (): void => undefined;
  try {
    await requireConnection(worker, address);
    endWatch = watchSilence((await worker.client) as unknown as RawRedis);
    ready(name);
    const running = worker.run();
    await Promise.race([running, aborted(signal)]); // it ends by itself only with an error
    await closeSoon(
      async () => {
        await worker.close();
        await running;
      },
      async () => undefined,
    );
  } finally {
    restore();
    endWatch();
    await disconnect(worker);
    await cache.close();
  }
  return processing.counts;
}

/** The part of BullMQ's connections that ends them. */
interface Ending {
  close(force: boolean): Promise<void>;
  disconnect(wait: boolean): Promise<void>;
}

interface Internals {
  readonly connection?: Ending;
  readonly blockingConnection?: Ending;
  readonly lockManager?: { close(): Promise<void> };
  readonly stalledCheckStopper?: () => void;
}

/** Ends both connections of a worker, whatever still waits for them. */
async function disconnect(worker: object): Promise<void> {
  const { connection, blockingConnection, lockManager, stalledCheckStopper } = worker as Internals;
  for (const each of [connection, blockingConnection]) {
    each?.close(true).catch(() => undefined); // one that was never made
    each?.disconnect(false).catch(() => undefined); // one whose clean end waits for a Redis that is gone
  }
  // Its clean end stops these timers last, and they would keep the process alive.
  lockManager?.close().catch(() => undefined);
  stalledCheckStopper?.();
  await wait(0);
}

/** The part of a BullMQ worker that tells of its connection. */
interface Watched {
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'ioredis:close' | 'ready', listener: () => void): unknown;
}

function watchConnection(worker: Watched, shown: string, said: WorkerOptions['said']): void {
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

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
