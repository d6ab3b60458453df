import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import type { Job as QueuedJob, Worker } from 'bullmq';
import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { type ProgressSink, silentProgress } from '../base/progress.ts';
import { type BlobRedis, type Blobs, openBlobs } from '../queue/blobs.ts';
import {
  closeSoon,
  disconnect,
  loadBullmq,
  queueAddress,
  type RawRedis,
  requireConnection,
  watchSilence,
} from '../queue/connection.ts';
import { checkedResult } from '../queue/job-result.ts';
import {
  type Job,
  jobIdOf,
  type Outcome,
  PROTOCOL,
  parseJob,
  parseQueued,
  QUEUES,
  type QueueName,
  queueOf,
} from '../queue/protocol.ts';
import { type QueueConfig, queueSection } from '../queue/queue-section.ts';
import { openSigner, type Signed, type Signer } from '../queue/signing.ts';
import { KEEP_SECONDS } from '../queue/stored-jobs.ts';
import type { Memory } from '../stages/config/config.ts';
import { readOnlyVariables } from '../wire/secrets.ts';
import { PartsCache } from './opened-parts.ts';
import { performJob, type WorkerCounts } from './perform-job.ts';
import { performRun } from './perform-run.ts';
import type { Permissions } from './permissions.ts';
import { openWorkers, watchConnection } from './queue-workers.ts';

const NOTHING: Permissions = { code: [], files: [] };
/** Jobs under way at once, where nothing says otherwise. */
export const DEFAULT_CONCURRENCY = 16;
/** A worker that was silent for so long has lost its jobs to others. */
export const DEFAULT_LOCK_SECONDS = 60;

export interface WorkerOptions {
  readonly queue: { readonly url: string; readonly prefix?: string; readonly caFile?: string };
  /** The queues whose jobs it takes; all of them when absent. */
  readonly take?: readonly QueueName[];
  /** Jobs under way at once; of whole runs always one. */
  readonly concurrency?: number;
  readonly lockSeconds?: number;
  /** Threads of the model runtime; those of the run's config when absent. */
  readonly threads?: number;
  /** As the config's key of this name, in its place. */
  readonly memory?: Memory;
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
function readJob({ id, data, queueName }: QueuedJob, signer: Signer): ReadJob {
  const queued = parseQueued(data);
  const problem = queued === undefined ? 'it is of another form' : signer.problemOf('job', queued.job);
  if (queued === undefined || problem !== undefined) throw new Error(problem);
  if (jobIdOf(queued.job) !== id) throw new Error('its id is that of another job');
  const job = parseJob(queued.job.payload);
  if (typeof job === 'string') throw new Error(job);
  if (queueOf(job) !== queueName) throw new Error('it is a job of another queue');
  const { result } = queued;
  const isResult = result !== undefined && typeof checkedResult(id, result, signer) !== 'string';
  return { job, result: isResult ? result : undefined };
}

interface ProcessingParts {
  readonly name: string;
  readonly signer: Signer;
  readonly cache: PartsCache;
  /** Bytes beside the jobs of one owner. */
  readonly blobs: (owner: string) => Promise<Blobs>;
}

/** The work of a worker on each job. */
class Processing {
  readonly counts: WorkerCounts = { jobs: 0, answers: 0, verdicts: 0, attacks: 0, runs: 0, handedBack: 0, refused: 0 };
  private readonly handedBack = new Set<string | undefined>();
  private readonly name: string;
  private readonly signer: Signer;
  private readonly cache: PartsCache;
  private readonly blobs: (owner: string) => Promise<Blobs>;
  private readonly options: WorkerOptions;

  constructor({ name, signer, cache, blobs }: ProcessingParts, options: WorkerOptions) {
    this.name = name;
    this.signer = signer;
    this.cache = cache;
    this.blobs = blobs;
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
      const outcome = await this.outcomeOf(job, queued);
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

  private async outcomeOf(job: Job, queued: QueuedJob): Promise<Outcome> {
    const { signal } = this.options;
    const { cache, counts, blobs } = this;
    if (job.kind !== 'run') return performJob(job, { cache, counts, blobs, signal });
    const id = queued.id as string;
    return performRun(job, {
      ...this.options,
      id,
      counts: this.counts,
      blobs: await this.blobs(job.run),
      progressed: (line) => {
        const progress = this.signer.sign('progress', { version: PROTOCOL, job: id, line });
        queued.updateProgress(progress).catch(() => undefined); // no connection: the next line says more
      },
    });
  }

  private read(queued: QueuedJob): ReadJob {
    try {
      return readJob(queued, this.signer);
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
  const { signal, said } = options;
  const bullmq = await loadBullmq();
  setMaxListeners(0, signal); // one listener for each call under way
  const address = queueAddress(parseQueue(options.queue));
  const signer = openSigner(address.isLoopback);
  const restore = readOnlyVariables(options.variables ?? []);
  const { cacheDir, progress = silentProgress, permissions = NOTHING, threads, memory } = options;
  const io = { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) };
  const cache = new PartsCache({ io, permissions, threads, memory });
  const name = `${hostname()}:${process.pid}`;
  const keys = { prefix: address.prefix, keepSeconds: KEEP_SECONDS };
  const blobs = async (owner: string): Promise<Blobs> =>
    openBlobs((await (workers[0] as Worker).client) as unknown as BlobRedis, { ...keys, owner });
  const processing = new Processing({ name, signer, cache, blobs }, options);
  const { take = QUEUES, concurrency = DEFAULT_CONCURRENCY, lockSeconds = DEFAULT_LOCK_SECONDS } = options;
  const plan = { name, address, take, concurrency, lockSeconds };
  const workers = openWorkers(bullmq, plan, (job, handBack) => processing.process(job, handBack));
  const [first, ...others] = workers;
  if (first !== undefined) watchConnection(first, address.shown, said);
  for (const other of others) other.on('error', () => undefined); // lost together with the first
  const closeAll = () => Promise.all(workers.map((worker) => worker.close()));
  const endWatches: (() => void)[] = [];
  try {
    for (const worker of workers) {
      await Promise.race([requireConnection(worker, address), aborted(signal)]);
      if (signal.aborted) return processing.counts;
      endWatches.push(watchSilence((await worker.client) as unknown as RawRedis));
    }
    // Before any job hears of the end: one that is handed back is then not taken again.
    signal.addEventListener('abort', () => void closeAll().catch(() => undefined), { once: true });
    ready(name);
    const running = workers.map((worker) => worker.run());
    await Promise.race([...running, aborted(signal)]); // one ends by itself only with an error
    await closeSoon(
      async () => {
        await closeAll();
        await Promise.all(running);
      },
      async () => undefined,
    );
  } finally {
    restore();
    for (const end of endWatches) end();
    await Promise.all(workers.map(disconnect));
    await cache.close();
  }
  return processing.counts;
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
