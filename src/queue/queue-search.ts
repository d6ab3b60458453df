import { sha256Of } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';
import type { AttackerSpec } from '../learning/attacker.ts';
import { type DrawnAttack, responseStream } from '../learning/loops/asked-batches.ts';
import {
  type DrawPlan,
  type DrawStates,
  type SearchElsewhere,
  type SearchedAttacks,
  sizeOfPlan,
  splitPlan,
} from '../learning/loops/draw-plan.ts';
import { MAX_SAMPLED_ROWS, type ReferenceRule } from '../learning/loops/rollout.ts';
import type { ComeAnswers } from './come-answers.ts';
import type { JobQueue } from './pending-job.ts';
import { type AskedDescription, PROTOCOL, type SearchedResult, type SearchJob } from './protocol.ts';
import { adapterBytes } from './search-job.ts';

/** Short texts that are stored with the run, each under a key. */
export interface RunNotes {
  find(key: string): string | undefined;
  keep(key: string, value: string): void;
}

export interface QueueSearchParts {
  /** Of searches. */
  readonly jobs: JobQueue;
  /** Name of the run: jobs of two runs are never one. */
  readonly run: string;
  readonly stage: string;
  readonly description: AskedDescription;
  readonly attacker: SearchJob['attacker'];
  readonly encoder: SearchJob['encoder'];
  /** Bounds of the attacks that may come back. */
  readonly spec: Pick<AttackerSpec, 'config' | 'maxTokens'>;
  /** Flat parameters of the reference. */
  readonly reference: Float32Array;
  /** How workers ask what they have drawn; null: the run asks. */
  readonly asks: SearchJob['asks'];
  /** Where the answers of the workers wait. */
  readonly answers: ComeAnswers;
  readonly notes: RunNotes;
  readonly signal: AbortSignal;
}

interface HeldBytes {
  readonly bytes: Uint8Array;
  readonly hash: string;
}

/** Bytes that jobs under way name, each with how many of them do. */
class SharedBlobs {
  private readonly users = new Map<string, number>();
  private readonly jobs: JobQueue;
  private readonly run: string;

  constructor(jobs: JobQueue, run: string) {
    this.jobs = jobs;
    this.run = run;
  }

  hold(bytes: Uint8Array): HeldBytes {
    const hash = sha256Of(bytes);
    this.users.set(hash, (this.users.get(hash) ?? 0) + 1);
    return { bytes, hash };
  }

  async put(all: readonly HeldBytes[]): Promise<void> {
    for (const { bytes, hash } of all) await this.jobs.blobs(this.run).put(bytes, hash);
  }

  /** Redis drops the bytes that nobody holds any more. */
  leave({ hash }: HeldBytes): void {
    const left = (this.users.get(hash) ?? 1) - 1;
    if (left > 0) this.users.set(hash, left);
    else {
      this.users.delete(hash);
      this.jobs
        .blobs(this.run)
        .forget(hash)
        .catch(() => undefined); // no connection: they expire
    }
  }
}

/** @throws FloodgateError `run` for attacks that are not those of the plan. */
function checkAttacks(
  { attacks }: SearchedResult,
  plan: DrawPlan,
  { config, maxTokens }: QueueSearchParts['spec'],
): void {
  const areTokens = attacks.every(
    ({ tokens }) => tokens.length <= maxTokens && tokens.every((token) => token < config.vocabSize),
  );
  if (areTokens && attacks.length === sizeOfPlan(plan)) return;
  const what = areTokens
    ? `${attacks.length} attacks, expected ${sizeOfPlan(plan)}`
    : 'tokens that the attacker has not';
  throw new FloodgateError('run', `search: a worker sent ${what}`);
}

/** In the order of fields that the attacker gives them: a checkpoint holds them as they are. */
function toDrawn(
  { source, tokens, terminated, text, logPi, prediction }: SearchedResult['attacks'][number],
  { cell }: DrawPlan,
): DrawnAttack {
  const ofCell = cell === undefined ? {} : { cell };
  return { attack: { source, tokens, terminated, ...ofCell, text, logPi }, prediction: prediction ?? undefined };
}

export interface QueueSearch {
  readonly search: SearchElsewhere;
  /**
   * Takes over the answers of a search that Ctrl-C broke off, where a worker has begun it: whoever asks finds them.
   * @returns lets Redis forget them, when they are stored.
   */
  collect(update: number): Promise<() => void>;
  /** Redis may forget what every search named. */
  close(): void;
}

/** A part of a search, and the bytes that it alone names. */
interface PartJob {
  readonly job: SearchJob;
  readonly own: readonly HeldBytes[];
  readonly noteKey: string;
}

const never = (): void => undefined;

class RunSearches implements QueueSearch {
  private readonly parts: QueueSearchParts;
  private readonly blobs: SharedBlobs;
  private readonly reference: HeldBytes;

  constructor(parts: QueueSearchParts) {
    this.parts = parts;
    this.blobs = new SharedBlobs(parts.jobs, parts.run);
    this.reference = this.blobs.hold(adapterBytes(parts.reference));
  }

  private jobOf(plan: DrawPlan, { policy, surrogate }: DrawStates, rule: ReferenceRule): PartJob {
    const { run, description, attacker, encoder, notes } = this.parts;
    const heldPolicy = this.blobs.hold(adapterBytes(policy));
    const heldSurrogate = surrogate === undefined ? [] : [this.blobs.hold(Buffer.from(JSON.stringify(surrogate)))];
    const [policyHash, surrogateHash] = [heldPolicy.hash, heldSurrogate[0]?.hash ?? null];
    const noteKey = sha256Of(JSON.stringify(['searched', run, plan, policyHash, surrogateHash]));
    // The answers of an earlier process are stored: nobody is asked again.
    const asks = notes.find(noteKey) === undefined ? this.parts.asks : null;
    const states = { policy: policyHash, reference: this.reference.hash, surrogate: surrogateHash };
    const job: SearchJob = {
      ...{ kind: 'search', version: PROTOCOL, run, description, attacker, encoder },
      ...{ ...states, plan, rule, asks },
    };
    return { job, own: [heldPolicy, ...heldSurrogate], noteKey };
  }

  readonly search: SearchElsewhere = async (plan, states, rule) => {
    const all = splitPlan(plan).map((part) => this.jobOf(part, states, rule));
    try {
      const found = await Promise.all(all.map((part) => this.searchPart(part)));
      return {
        attacks: found.flatMap(({ attacks }) => attacks),
        opinions: found.flatMap(({ opinions }) => opinions),
        stored: () => {
          for (const each of found) each.stored();
        },
      };
    } catch (error) {
      if (!this.parts.signal.aborted) throw error;
      for (const { job } of all)
        if (job.asks !== null) this.parts.notes.keep(this.leftKey(job.plan), JSON.stringify(job));
      throw new FloodgateError('interrupted', 'search: interrupted');
    }
  };

  private async searchPart({ job, own, noteKey }: PartJob): Promise<SearchedAttacks> {
    const { jobs, notes, signal, spec } = this.parts;
    const prepare = () => this.blobs.put([this.reference, ...own]);
    const { outcome, worker, release } = await jobs.submit(job, signal, { prepare }); // a failed job is tried again later
    for (const each of own) this.blobs.leave(each);
    if (outcome.kind !== 'searched')
      throw new FloodgateError('run', `search: worker ${worker} answered another job than this one`);
    checkAttacks(outcome, job.plan, spec);
    this.come(job, outcome);
    return {
      attacks: outcome.attacks.map((attack) => toDrawn(attack, job.plan)),
      opinions: outcome.attacks,
      stored: () => {
        if (job.asks !== null) notes.keep(noteKey, '');
        release();
      },
    };
  }

  private come({ asks, plan }: SearchJob, { attacks }: SearchedResult): void {
    const from = plan.rows?.from ?? 0;
    for (const [row, { text, asked }] of attacks.entries())
      if (asks !== null && asked !== null)
        this.parts.answers.come({ ...asks, attack: text, streamName: responseStream(plan.update, from + row) }, asked);
  }

  /** Of the note with a job that Ctrl-C left. */
  private leftKey({ update, rows }: Pick<DrawPlan, 'update' | 'rows'>): string {
    return `left search ${this.parts.run} ${this.parts.stage} ${update} ${rows?.from ?? 0}`;
  }

  async collect(update: number): Promise<() => void> {
    const { notes, jobs, signal } = this.parts;
    const releases: (() => void)[] = [];
    for (let from = 0; ; from += MAX_SAMPLED_ROWS) {
      const left = notes.find(this.leftKey({ update, rows: { from, to: from } }));
      if (left === undefined) break;
      const job = JSON.parse(left) as SearchJob;
      if (!(await jobs.has(job))) continue;
      // One that no worker can end, such as one whose adapter expired, is asked by the run.
      const finished = await jobs.submit(job, signal).catch(never);
      if (finished?.outcome.kind !== 'searched') continue;
      this.come(job, finished.outcome);
      releases.push(finished.release);
    }
    return () => {
      for (const release of releases) release();
    };
  }

  close(): void {
    this.blobs.leave(this.reference);
  }
}

/**
 * Searches of a stage on the run's workers: each draws the attacks of one update from the policy as it was then, and
 * asks them. The answers wait until the run asks for them, so that they are counted and stored as any others.
 */
export function createQueueSearch(parts: QueueSearchParts): QueueSearch {
  return new RunSearches(parts);
}
