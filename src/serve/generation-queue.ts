import { FloodgateError } from '../base/errors.ts';
import { maxOf } from '../base/long-lists.ts';
import type { RandomStream } from '../base/random.ts';
import type { TokenFilter } from '../models/decoder/choose-token.ts';
import type { TokenWatch } from '../models/decoder/generator.ts';
import { ApiError } from './api-error.ts';
import type { ServedModel } from './served-model.ts';

/** One text to sample. */
export interface QueuedRow {
  readonly prompt: readonly number[];
  readonly minNewTokens: number;
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly stream: RandomStream;
  /** True when the row is complete: its end token, its last token, or enough text. */
  readonly watch: TokenWatch;
}

/** The rows of one request. */
export interface Job extends TokenFilter {
  readonly rows: readonly QueuedRow[];
  /** Never shares a batch with another request, so that equal requests are rounded equally. */
  readonly isAlone: boolean;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

interface WaitingJob {
  readonly job: Job;
  /** Rows that are not complete. */
  left: number;
  resolve(): void;
  reject(error: unknown): void;
}

/** Rows that wait, over all requests: a client that never reads must not fill the memory. */
const MAX_WAITING_ROWS = 512;
/** Rows of one batch, and key/value slots of one batch with their padding: 755 MB for SmolLM2-135M. */
const BATCH_LIMITS = { maxRows: 64, maxTokens: 16_384 } as const;

/** A row with the job that it belongs to. */
interface PlacedRow {
  readonly row: QueuedRow;
  readonly owner: WaitingJob;
}

function extentOf(rows: readonly PlacedRow[]): { readonly prompt: number; readonly answer: number } {
  return {
    prompt: maxOf(rows.map(({ row }) => row.prompt.length)),
    answer: maxOf(rows.map(({ row }) => row.maxNewTokens)),
  };
}

/** Splits rows, in order, into batches: the longest prompt of each and its longest answer together fit the context. */
function groupsOf(rows: readonly PlacedRow[], contextTokens: number): PlacedRow[][] {
  const groups: PlacedRow[][] = [];
  for (const row of rows) {
    const group = groups.at(-1);
    const extended = [...(group ?? []), row];
    const { prompt, answer } = extentOf(extended);
    const isWithin =
      row.row.minNewTokens === group?.[0]?.row.minNewTokens &&
      prompt + answer <= contextTokens &&
      extended.length <= BATCH_LIMITS.maxRows &&
      extended.length * (prompt + answer) <= BATCH_LIMITS.maxTokens;
    if (group !== undefined && isWithin) group.push(row);
    else groups.push([row]);
  }
  return groups;
}

const haveSameRules = (a: Job, b: Job): boolean => a.topK === b.topK && a.topP === b.topP;

/** Answers requests in order of arrival: one batch at a time, and requests that wait share one where they can. */
export class GenerationQueue {
  private readonly model: Pick<ServedModel, 'generate' | 'contextTokens'>;
  private waiting: WaitingJob[] = [];
  private readonly closing = new AbortController();
  private loop: Promise<void> | undefined;

  constructor(model: Pick<ServedModel, 'generate' | 'contextTokens'>) {
    this.model = model;
  }

  /**
   * Samples the rows of a job; each is told its tokens. Ends with the job's last row, whatever else its batch does.
   * @throws ApiError 429 when too much waits; FloodgateError `interrupted` when the job's signal or `close` ends it.
   */
  submit(job: Job): Promise<void> {
    const rows = this.waiting.reduce((sum, { job: { rows } }) => sum + rows.length, job.rows.length);
    if (this.waiting.length > 0 && rows > MAX_WAITING_ROWS) {
      throw new ApiError(429, 'too many requests wait; try again later', { headers: { 'retry-after': '1' } });
    }
    return new Promise((resolve, reject) => {
      const waiting: WaitingJob = { job, left: job.rows.length, resolve, reject };
      job.signal.addEventListener('abort', () => this.drop(waiting), { once: true });
      this.waiting.push(waiting);
      if (job.signal.aborted || this.closing.signal.aborted) this.drop(waiting);
      else this.loop ??= this.work();
    });
  }

  /** Ends what is under way at its next token, and everything that waits. */
  async close(): Promise<void> {
    this.closing.abort();
    for (const waiting of [...this.waiting]) this.drop(waiting);
    await this.loop;
  }

  /** Refuses a job that has not begun. One that has is ended by its rows' watches. */
  private drop(dropped: WaitingJob): void {
    this.waiting = this.waiting.filter((waiting) => waiting !== dropped);
    dropped.reject(new FloodgateError('interrupted', 'serve: the request was given up'));
  }

  private async work(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.takeBatch();
      try {
        await this.sample(batch);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.loop = undefined;
  }

  /** The first job, with as many of the next as may share its batch. */
  private takeBatch(): WaitingJob[] {
    const [first, ...others] = this.waiting as [WaitingJob, ...WaitingJob[]];
    const batch = [first];
    let rows = first.job.rows.length;
    if (!first.job.isAlone) {
      for (const other of others) {
        rows += other.job.rows.length;
        if (other.job.isAlone || rows > BATCH_LIMITS.maxRows || !haveSameRules(first.job, other.job)) break;
        batch.push(other);
      }
    }
    this.waiting = this.waiting.filter((waiting) => !batch.includes(waiting));
    return batch;
  }

  private async sample(batch: readonly WaitingJob[]): Promise<void> {
    const rows = batch.flatMap((owner) => owner.job.rows.map((row): PlacedRow => ({ row, owner })));
    for (const group of groupsOf(rows, this.model.contextTokens)) {
      if (!group.every(({ owner }) => owner.job.signal.aborted)) await this.sampleGroup(group);
    }
  }

  private async sampleGroup(group: readonly PlacedRow[]): Promise<void> {
    const prompts = [...new Set(group.map(({ row }) => row.prompt))];
    const { row, owner } = group[0] as PlacedRow;
    await this.model.generate({
      prompts,
      requests: group.map(({ row, owner }) => ({
        prompt: prompts.indexOf(row.prompt),
        stream: row.stream,
        temperature: row.temperature,
        watch: (token, logProbs) => {
          if (owner.job.signal.aborted) return true;
          const isComplete = row.watch(token, logProbs);
          if (isComplete && --owner.left === 0) owner.resolve();
          return isComplete;
        },
      })),
      minNewTokens: row.minNewTokens,
      maxNewTokens: extentOf(group).answer,
      topK: owner.job.topK,
      topP: owner.job.topP,
      signal: this.closing.signal,
    });
  }
}
