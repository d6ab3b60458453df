import { setTimeout as wait } from 'node:timers/promises';
import { canonicalJson } from '../base/canonical-json.ts';
import { maxOf } from '../base/long-lists.ts';
import type { AskJob } from '../queue/protocol.ts';
import type { Target, TargetAnswer } from '../targets/target.ts';

/** One attack, as a job asks it. */
export type Asked = Pick<AskJob, 'attack' | 'streamName' | 'samples' | 'decode'>;

/** How long further jobs are waited for before a batch: they come from Redis one by one. */
const GATHER_MS = 4;
/** Most attacks of one batch. */
const MOST_AT_ONCE = 64;

interface Waiting {
  readonly asked: Asked;
  resolve(answers: TargetAnswer[]): void;
  reject(error: unknown): void;
}

/** Answers drawn for the request: those of the highest index, and all below. */
const drawsOf = ({ samples }: Asked): number => 1 + maxOf(samples);

/**
 * Asks a target for several jobs at once. A target on this machine computes many attacks in one batch, and each answer
 * is a function of its own random stream; any other target is asked as the jobs come.
 */
export class BatchedAsks {
  private readonly target: Target;
  private readonly signal: AbortSignal;
  private waiting: Waiting[] = [];
  private isRunning = false;

  /** @param signal stops the work. */
  constructor(target: Target, signal: AbortSignal) {
    this.target = target;
    this.signal = signal;
  }

  /** One answer for each of `samples`. */
  async ask(asked: Asked): Promise<TargetAnswer[]> {
    const { attack, streamName, samples, decode } = asked;
    if (this.target.isOneByOne === true) {
      const requests = [{ attack, streamName, samples }];
      const [answers = []] = await this.target.ask(requests, {
        responses: samples.length,
        decode,
        signal: this.signal,
      });
      return answers;
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ asked, resolve, reject });
      if (!this.isRunning) void this.run();
    });
  }

  private async run(): Promise<void> {
    this.isRunning = true;
    while (this.waiting.length > 0) {
      await wait(GATHER_MS);
      await this.askTogether(this.takeAlike());
    }
    this.isRunning = false;
  }

  /** The first that waits, and those that can be asked in one call with it. */
  private takeAlike(): Waiting[] {
    const keyOf = ({ asked }: Waiting): string => canonicalJson([asked.decode, drawsOf(asked)]);
    const first = keyOf(this.waiting[0] as Waiting);
    const alike = this.waiting.filter((each) => keyOf(each) === first).slice(0, MOST_AT_ONCE);
    const taken = new Set(alike);
    this.waiting = this.waiting.filter((each) => !taken.has(each));
    return alike;
  }

  private async askTogether(group: readonly Waiting[]): Promise<void> {
    const [{ asked: first }] = group as readonly [Waiting];
    try {
      const answers = await this.target.ask(
        group.map(({ asked: { attack, streamName } }) => ({ attack, streamName })),
        { responses: drawsOf(first), decode: first.decode, signal: this.signal },
      );
      for (const [i, { asked, resolve }] of group.entries())
        resolve(asked.samples.map((sample) => answers[i]?.[sample] as TargetAnswer));
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }
}
