import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer } from './line-process.ts';

/** The part of a side that a round needs: `LineProcess` has it. */
export interface Runner {
  readonly ready: Promise<Answer>;
  run(index: number): Promise<Answer>;
  close(): Promise<void>;
}

export interface SideRun {
  readonly name: string;
  /** Its first line; undefined when it did not come up. */
  readonly ready: Answer | undefined;
  /** Answers of the counted rounds, in order; empty after a failure. */
  readonly answers: readonly Answer[];
  readonly failure: string | undefined;
}

export interface InterleaveOptions {
  readonly rounds: number;
  /** Rounds before the counted ones. */
  readonly warmupRounds: number;
  /** Pause after each run: worker threads of the last side spin for a moment before they sleep. */
  readonly settleMs: number;
  readonly onProgress: (text: string) => void;
}

interface Running {
  readonly name: string;
  readonly runner: Runner;
  ready: Answer | undefined;
  answers: Answer[];
  failure: string | undefined;
}

async function attempt(
  side: Running,
  onProgress: InterleaveOptions['onProgress'],
  work: () => Promise<void>,
): Promise<void> {
  if (side.failure !== undefined) return;
  try {
    await work();
  } catch (error) {
    side.failure = error instanceof Error ? error.message : String(error);
    side.answers = [];
    const details = error instanceof Error && typeof error.cause === 'string' ? `\n${error.cause}` : '';
    onProgress(`${side.name} failed: ${side.failure}${details}`);
  }
}

/**
 * Runs the sides A B C A B C ..., each in its own process, one at a time. A side that fails gives its reason and is
 * left out of later rounds; the others continue.
 */
export async function interleave(
  sides: readonly { readonly name: string; readonly start: () => Runner }[],
  options: InterleaveOptions,
): Promise<SideRun[]> {
  const running: Running[] = [];
  try {
    for (const { name, start } of sides) {
      options.onProgress(`start ${name}`);
      const side: Running = { name, runner: start(), ready: undefined, answers: [], failure: undefined };
      running.push(side);
      await attempt(side, options.onProgress, async () => {
        side.ready = await side.runner.ready;
      });
    }
    for (let round = 0; round < options.warmupRounds + options.rounds; round++) {
      const isCounted = round >= options.warmupRounds;
      for (const side of running) {
        options.onProgress(`${isCounted ? 'round' : 'warm-up'} ${round + 1}: ${side.name}`);
        await attempt(side, options.onProgress, async () => {
          const answer = await side.runner.run(round);
          if (isCounted) side.answers.push(answer);
        });
        await sleep(options.settleMs);
      }
    }
  } finally {
    await Promise.all(running.map(({ runner }) => runner.close()));
  }
  return running.map(({ name, ready, answers, failure }) => ({ name, ready, answers, failure }));
}
