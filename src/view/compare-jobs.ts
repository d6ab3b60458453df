import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { FloodgateError } from '../base/errors.ts';
import type { CompareStep, Comparison } from '../report/compare/compare-runs.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import type { CompareMessage, CompareTask } from './compare-worker.ts';
import { contentOf, type RunContent } from './run-content.ts';

/** A request waits so long for a comparison, and then says how far it is. */
const WAIT_MS = 1000;
/** A comparison that nobody asked for in this time ends: its page was closed. */
const ABANDONED_MS = 15_000;
/** Comparisons that are kept; each holds the texts of its ways. */
const MAX_KEPT = 4;
type Outcome =
  | Exclude<CompareMessage, { readonly kind: 'step' }>
  | { readonly kind: 'failed'; readonly error: unknown };

export type CompareProgress =
  | { readonly kind: 'compared'; readonly comparison: Comparison; readonly version: string }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'working'; readonly step: CompareStep | 'waiting' | 'begun' };

interface Job {
  readonly content: RunContent;
  /** `waiting` until its turn has come. */
  step: CompareStep | 'waiting' | 'begun';
  outcome: Outcome | undefined;
  isDelivered: boolean;
  readonly done: Promise<void>;
  /** Ends the thread; one that waits for its turn never begins. */
  readonly stop: AbortController;
  timer: NodeJS.Timeout;
}

/** Compares in a thread of its own. @throws whatever the thread fails with. */
function inThread(script: URL, task: CompareTask, onStep: (step: CompareStep) => void, signal: AbortSignal) {
  return new Promise<Outcome>((resolve, reject) => {
    const worker = new Worker(script, { workerData: task });
    const end = (): void => void worker.terminate();
    signal.addEventListener('abort', end, { once: true });
    worker.on('message', (message: CompareMessage) => {
      if (message.kind === 'step') onStep(message.step);
      else resolve(message);
    });
    worker.on('error', reject);
    worker.on('exit', () => {
      signal.removeEventListener('abort', end);
      reject(new FloodgateError('run', 'compare: the thread that compares ended without an answer'));
    });
  });
}

/** Comparisons of runs, one at a time, each in a thread of its own; kept until a run changes. */
export class CompareJobs {
  private readonly script: URL;
  private readonly jobs = new Map<string, Job>();
  private turn: Promise<void> = Promise.resolve();

  /** @param script the compiled `compare-worker.ts`. */
  constructor(script: URL) {
    this.script = script;
  }

  /**
   * The comparison of these runs, or how far it is after a short time.
   * @param version of an earlier answer, which is then given again where it is still kept; else the runs as they are.
   */
  async ask(folders: readonly RunFolder[], signal: AbortSignal, version?: string): Promise<CompareProgress> {
    const job = this.jobOf(folders, version);
    job.timer.refresh();
    await Promise.race([job.done, wait(WAIT_MS, undefined, { signal }).catch(() => undefined)]);
    job.timer.refresh();
    const { outcome, step } = job;
    if (outcome === undefined) return { kind: 'working', step };
    job.isDelivered = true;
    if (outcome.kind === 'failed') throw outcome.error;
    return outcome.kind === 'refused' ? outcome : { ...outcome, version: job.content.mark };
  }

  /** Ends every thread. */
  async close(): Promise<void> {
    for (const { stop, timer } of this.jobs.values()) {
      clearTimeout(timer);
      stop.abort();
    }
    await this.turn;
  }

  /** The job that answers: one that works, that waits to be fetched, or whose runs are still the same. */
  private jobOf(folders: readonly RunFolder[], version: string | undefined): Job {
    const key = JSON.stringify(folders.map(({ path }) => path));
    const content = contentOf(folders);
    const known = this.jobs.get(key);
    if (known?.outcome?.kind === 'compared' && known.content.mark === version) return known;
    const isSame = known?.content.mark === content.mark && known.content.isSettled && known.outcome?.kind !== 'failed';
    if (known !== undefined && (isSame || !known.isDelivered)) return known;
    if (known !== undefined) this.remove(key, known);
    const job = this.begin(key, folders, content);
    this.jobs.set(key, job);
    for (const [oldest, each] of this.jobs) {
      if (this.jobs.size <= MAX_KEPT) break;
      if (each.isDelivered) this.remove(oldest, each);
    }
    return job;
  }

  private remove(key: string, job: Job): void {
    clearTimeout(job.timer);
    job.stop.abort();
    if (this.jobs.get(key) === job) this.jobs.delete(key);
  }

  private begin(key: string, folders: readonly RunFolder[], content: RunContent): Job {
    const stop = new AbortController();
    const work = async (): Promise<void> => {
      if (stop.signal.aborted) return;
      job.step = 'begun';
      const onStep = (step: CompareStep): void => {
        job.step = step;
      };
      const task = { folders: folders.map((folder) => ({ ...folder })) };
      job.outcome = await inThread(this.script, task, onStep, stop.signal).catch(
        (error: unknown) => ({ kind: 'failed', error }) as const,
      );
    };
    const done = this.turn.then(work);
    this.turn = done;
    const abandon = (): void => {
      if (job.outcome === undefined || !job.isDelivered) this.remove(key, job);
    };
    const timer = setTimeout(abandon, ABANDONED_MS);
    timer.unref();
    const job: Job = { content, step: 'waiting', outcome: undefined, isDelivered: false, done, stop, timer };
    return job;
  }
}
