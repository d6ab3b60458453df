import { FloodgateError } from '../base/errors.ts';
import { type Exchange, type Judge, type ScoreOptions, unscored, type Verdict } from '../judges/judge.ts';
import type { TargetAnswer } from '../targets/target.ts';
import { createLimiter } from '../wire/limiter.ts';
import type { JobQueue } from './pending-job.ts';
import { type AskedDescription, identityOf, judgeWeights, MAX_TEXT, type OpenedJudge, PROTOCOL } from './protocol.ts';

/** Most verdicts that wait for whoever asks for them. Stops an evaluation that never asks from filling the memory. */
const MOST_WAITING = 65_536;

/** Verdicts that came with the answers of a target, until they are asked for. */
export class ComeVerdicts {
  private readonly waiting = new Map<string, Verdict>();

  private keyOf(judge: number, { attack, response }: Exchange): string {
    return JSON.stringify([judge, attack, response]);
  }

  /** @param verdicts one for each answer; null for one that is no text. */
  come(
    judge: number,
    attack: string,
    answers: readonly TargetAnswer[],
    verdicts: readonly (Verdict | null | undefined)[],
  ): void {
    for (const [i, answer] of answers.entries()) {
      const verdict = verdicts[i];
      if (answer.kind !== 'text' || verdict === null || verdict === undefined) continue;
      this.waiting.set(this.keyOf(judge, { attack, response: answer.text }), verdict);
    }
    for (const key of this.waiting.keys()) {
      if (this.waiting.size <= MOST_WAITING) break;
      this.waiting.delete(key);
    }
  }

  /** The verdict, once. */
  take(judge: number, exchange: Exchange): Verdict | undefined {
    const key = this.keyOf(judge, exchange);
    const verdict = this.waiting.get(key);
    this.waiting.delete(key);
    return verdict;
  }
}

export interface QueueJudgeParts {
  readonly jobs: JobQueue;
  readonly run: string;
  readonly description: AskedDescription;
  /** Its place in `description.judges`. */
  readonly judge: number;
  readonly opened: OpenedJudge;
  readonly verdicts: ComeVerdicts;
  readonly jobsAtOnce: number;
}

/** Most exchanges of one job, and most characters of several. */
const EXCHANGES_PER_JOB = 16;
const CHARACTERS_PER_JOB = 2 ** 20;
/** A result is forgotten by Redis after whoever asked for it has stored it, which takes no input or output. */
const STORED_AFTER_MS = 1000;

interface Waiting {
  readonly exchange: Exchange;
  readonly options: ScoreOptions;
  resolve(verdict: Verdict): void;
  reject(error: unknown): void;
}

/** Groups of one job each, in order. */
function groupsOf(all: readonly Waiting[]): Waiting[][] {
  const groups: Waiting[][] = [];
  let characters = 0;
  for (const each of all) {
    const length = each.exchange.attack.length + each.exchange.response.length;
    const last = groups.at(-1);
    if (last === undefined || last.length === EXCHANGES_PER_JOB || characters + length > CHARACTERS_PER_JOB) {
      groups.push([each]);
      characters = length;
    } else {
      last.push(each);
      characters += length;
    }
  }
  return groups;
}

/** The judge of a run whose workers score. Exchanges that are asked for at once share jobs. */
export function createQueueJudge(parts: QueueJudgeParts): Judge {
  const { jobs, run, description, judge, opened, verdicts } = parts;
  const { name, models } = opened;
  const limiter = createLimiter(parts.jobsAtOnce);
  const weights = judgeWeights(opened);
  const never = new AbortController().signal;
  let waiting: Waiting[] = [];
  let isClosed = false;

  const scoreTogether = async (group: readonly Waiting[]): Promise<void> => {
    const { signal = never } = group[0]?.options ?? {};
    try {
      const exchanges = group.map(({ exchange }) => exchange);
      await limiter.run(async () => {
        for (const { options } of group) options.onCall?.();
        const job = { kind: 'judge', version: PROTOCOL, run, description, judge, weights, exchanges } as const;
        const { outcome, worker, release } = await jobs.submit(job, signal);
        if (outcome.kind !== 'verdicts' || outcome.verdicts.length !== group.length)
          throw new FloodgateError('run', `${name}: worker ${worker} answered another job than this one`);
        for (const [i, each] of group.entries()) each.resolve(outcome.verdicts[i] as Verdict);
        setTimeout(release, STORED_AFTER_MS).unref();
      }, signal);
    } catch (error) {
      const reason = signal.aborted ? new FloodgateError('interrupted', `${name}: interrupted`) : error;
      for (const each of group) each.reject(reason);
    }
  };

  const flush = (): void => {
    const all = waiting;
    waiting = [];
    for (const group of groupsOf(all)) void scoreTogether(group);
  };

  const scoreOne = (exchange: Exchange, options: ScoreOptions): Promise<Verdict> => {
    const longest = Math.max(exchange.attack.length, exchange.response.length);
    if (longest > MAX_TEXT)
      return Promise.resolve(unscored(`${name}: got ${longest} characters, expected ${MAX_TEXT} for the queue`));
    const come = verdicts.take(judge, exchange);
    if (come !== undefined) {
      options.onCall?.();
      return Promise.resolve(come);
    }
    return new Promise((resolve, reject) => {
      if (waiting.length === 0) setImmediate(flush);
      waiting.push({ exchange, options, resolve, reject });
    });
  };

  return {
    name,
    ...(models.length === 0 ? {} : { models: models.map(identityOf) }),
    isConcurrent: true,
    ...(opened.isFree ? { isFree: true } : {}),
    async score(exchanges, options = {}) {
      if (isClosed) throw new FloodgateError('judge', `${name}: used after close`);
      if (options.signal?.aborted) throw new FloodgateError('interrupted', `${name}: interrupted`);
      const scored = await Promise.allSettled(exchanges.map((exchange) => scoreOne(exchange, options)));
      const failed = scored.find(({ status }) => status === 'rejected') as PromiseRejectedResult | undefined;
      if (failed !== undefined) throw failed.reason;
      return scored.map((each) => (each as PromiseFulfilledResult<Verdict>).value);
    },
    async close() {
      isClosed = true;
    },
  };
}
