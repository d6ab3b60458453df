import { z } from 'zod';
import { count, line } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { type Breaker, breakAfter, createBreaker } from '../wire/breaker.ts';
import { type Program, ProgramFailure, startProgram } from './command-process.ts';
import { heed, type OwnQuestion, ownQuestion, readOwnAnswer } from './own-answer.ts';
import { checkAnswers, interruptedUnless, timeoutSeconds } from './remote-fields.ts';
import { type Answering, createRemoteTarget, failedAnswer } from './remote-target.ts';
import type { TargetAnswer, TargetRequest } from './target.ts';
import {
  createTargetKind,
  HARMLESS_PROMPT,
  NO_MODEL_FACTS,
  type PlannedTarget,
  type TargetConfig,
  type TargetHost,
} from './target-kind.ts';

const fields = {
  command: z
    .array(line)
    .min(1)
    .describe('the program and its arguments, without a shell; ./ counts from the config file'),
  timeoutSeconds,
  concurrency: z
    .number()
    .int()
    .min(1)
    .max(1024)
    .default(1)
    .describe('more than 1 only for a program that answers with the ids of its questions'),
  checkAnswers,
  restarts: count.max(1000).default(5).describe('in a row, without an answer between them; then the run stops'),
};

type CommandConfig = z.output<z.ZodObject<typeof fields>> & Pick<TargetConfig, 'kind' | 'decode' | 'responses'>;

const HINT =
  'it reads one JSON object a line, {"id": 1, "attack": "…"}, and answers {"id": 1, "text": "…"} in one line';

/** Keeps a program running: starts it at the first question, and again when it has ended. */
class KeptProgram {
  private readonly config: CommandConfig;
  private program: Program | undefined;
  /** Programs that ended since the last answer, and why the last one did. */
  private endings = 0;
  private lastEnding = '';
  private readonly ended = new WeakSet<Program>();
  /** The end of the last question that had a program to itself. */
  private alone: Promise<unknown> = Promise.resolve();

  constructor(config: CommandConfig) {
    this.config = config;
  }

  private start(): Program {
    const { command, restarts } = this.config;
    if (this.endings <= restarts) return startProgram(command);
    const what = `${command.join(' ')} ended ${this.endings} times without an answer`;
    throw new FloodgateError('target', `target.command: ${what}: ${this.lastEnding}`, { hint: HINT });
  }

  /**
   * A question that was under way when the program ended is asked once more, in a program of its own: it may not be the
   * one at fault, and if it is, no other question ends with it.
   */
  async ask(question: OwnQuestion, signal: AbortSignal): Promise<TargetAnswer> {
    if (this.program?.isAlive !== true) this.program = this.start();
    const answer = await this.askOf(this.program, question, signal);
    if (answer !== undefined) return answer;
    const again = this.alone.then(async () => {
      signal.throwIfAborted();
      const own = this.start();
      const second = await this.askOf(own, question, signal).finally(() => own.close());
      return second ?? failedAnswer(this.lastEnding);
    });
    this.alone = again.catch(() => undefined);
    return again;
  }

  /** Undefined where the program ended, and not because of the time that this question took. */
  private async askOf(program: Program, question: OwnQuestion, signal: AbortSignal): Promise<TargetAnswer | undefined> {
    const { timeoutSeconds: seconds } = this.config;
    let isLate = false;
    // It would answer later, and without ids that would be taken for the answer to another question.
    const stop = (): void => program.kill('it was interrupted');
    const timer = setTimeout(() => {
      isLate = true;
      program.kill(`no answer within ${seconds} s`);
    }, seconds * 1000);
    signal.addEventListener('abort', stop, { once: true });
    try {
      const answer = readProgramAnswer(await program.ask(question), question.maxTokens);
      this.endings = 0;
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ProgramFailure)) throw error;
      if (!error.isGone) return failedAnswer(error.message);
      this.note(program, error.message);
      return isLate ? failedAnswer(error.message) : undefined;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  /** Counts the end of a program once, however many questions were under way. */
  private note(program: Program, reason: string): void {
    if (!this.ended.has(program)) this.endings++;
    this.ended.add(program);
    this.lastEnding = reason;
  }

  async close(): Promise<void> {
    await this.alone;
    await this.program?.close();
  }
}

/** `{ error }` is a failure that the program states itself. */
function readProgramAnswer(answer: unknown, maxNewTokens: number): TargetAnswer {
  const { error } = answer as { readonly error?: unknown };
  if (error !== undefined && error !== null) return failedAnswer(`it answered the error ${String(error)}`);
  return readOwnAnswer(answer, maxNewTokens);
}

async function answerAll(
  { program, breaker, seed }: { readonly program: KeptProgram; readonly breaker: Breaker; readonly seed: number },
  request: TargetRequest,
  { samples, decode, signal, limiter, arrived }: Answering,
): Promise<TargetAnswer[]> {
  const one = async (response: number): Promise<TargetAnswer> => {
    const question = ownQuestion(request, response, decode, seed);
    return heed(breaker, await limiter.run(() => program.ask(question, signal), signal));
  };
  return Promise.all(samples.map(async (sample, at) => arrived(await one(sample), at)));
}

/** One harmless question. @throws FloodgateError `target` when the program does not answer it. */
async function probe(config: CommandConfig, { seed, signal }: TargetHost): Promise<void> {
  const program = new KeptProgram({ ...config, restarts: 0 });
  try {
    const question = ownQuestion({ attack: HARMLESS_PROMPT, streamName: ['check'] }, 0, config.decode, seed);
    const answer = await program.ask(question, signal);
    if (answer.kind !== 'failed') return;
    const shown = config.command.join(' ');
    throw new FloodgateError('target', `target.command: ${shown}, asked ${HARMLESS_PROMPT}: ${answer.reason}`, {
      hint: HINT,
    });
  } catch (error) {
    throw interruptedUnless(signal, error, 'target');
  } finally {
    await program.close();
  }
}

async function plan(config: CommandConfig, host: TargetHost): Promise<PlannedTarget> {
  await probe(config, host);
  const { kind, command, concurrency } = config;
  const facts = { ...NO_MODEL_FACTS, kind, model: `command ${command.join(' ')}` };
  const open = async () => {
    const name = `command/${command[0]}`;
    const program = new KeptProgram(config);
    const breaker = createBreaker(name, breakAfter(concurrency));
    const target = createRemoteTarget({
      name,
      concurrency,
      answer: (request, answering) => answerAll({ program, breaker, seed: host.seed }, request, answering),
      release: () => program.close(),
    });
    return { target, facts, hosts: [], checkpoint: undefined, close: () => target.close() };
  };
  return { facts, hosts: [], open };
}

/** A program of a user, kept running. */
export const commandKind = createTargetKind({
  name: 'command',
  describe:
    'a program that reads {"id", "attack"} as JSON, one a line, and answers {"id", "text"} or {"id", "refused"}',
  fields,
  pathKeys: ['command'],
  codeKeys: ['command'],
  plan,
});
