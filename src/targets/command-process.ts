import { type ChildProcess, spawn } from 'node:child_process';
import { redactSecrets } from '../base/errors.ts';
import { MAX_REPLY_BYTES } from '../wire/http-client.ts';
import { excerpt } from '../wire/wire-failure.ts';

/** A program that reads one JSON object a line and answers one a line, each with the `id` of its question. */
export interface Program {
  readonly isAlive: boolean;
  /** The answer without its id. @throws ProgramFailure when the program ends, or answers no JSON. */
  ask(question: object): Promise<unknown>;
  /** Ends it at once; questions under way fail. */
  kill(reason: string): void;
  /** Closes its input and waits until it ends; ends it when it does not. */
  close(): Promise<void>;
}

/** Why a program gave no answer. `isGone`: it has ended, so the question may be put to its successor. */
export class ProgramFailure extends Error {
  readonly isGone: boolean;

  constructor(message: string, isGone: boolean) {
    super(redactSecrets(message));
    this.name = 'ProgramFailure';
    this.isGone = isGone;
  }
}

/** Time for a program to end by itself once its input is closed. */
const CLOSE_MS = 2000;
/** Part of its error output that a message shows. */
const STDERR_CHARACTERS = 2000;

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: ProgramFailure): void;
}

class RunningProgram implements Program {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, Waiting>();
  private readonly ended: Promise<void>;
  private nextId = 1;
  private line = '';
  private stderr = '';
  private why: string | undefined;
  isAlive = true;

  constructor(command: readonly string[]) {
    const [file = '', ...args] = command;
    this.child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stdin?.on('error', () => undefined); // it ended: `close` says why
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.read(text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = `${this.stderr}${text}`.slice(-STDERR_CHARACTERS);
    });
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => this.end(`it cannot be started: ${error.message}`, resolve));
      this.child.once('exit', () => this.letGo());
      this.child.once('close', (code, signal) => this.end(`it ended with ${signal ?? `code ${code}`}`, resolve));
    });
  }

  private end(how: string, done: () => void): void {
    this.isAlive = false;
    const said = this.stderr.trim() === '' ? '' : `: ${excerpt(this.stderr.slice(-300))}`;
    this.failAll(`${this.why ?? how}${said}`);
    done();
  }

  private failAll(reason: string): void {
    const all = [...this.waiting.values()];
    this.waiting.clear();
    for (const { reject } of all) reject(new ProgramFailure(reason, true));
  }

  private read(text: string): void {
    const lines = `${this.line}${text}`.split('\n');
    this.line = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') this.take(line);
    if (this.line.length > MAX_REPLY_BYTES) this.kill(`it answered a line of more than ${MAX_REPLY_BYTES} characters`);
  }

  private take(line: string): void {
    const answer = parseLine(line);
    const [only] = this.waiting.size === 1 ? [...this.waiting.keys()] : [];
    const id = typeof answer?.id === 'number' ? answer.id : only;
    const waiting = id === undefined ? undefined : this.waiting.get(id);
    if (id === undefined || waiting === undefined) {
      // An answer to nobody: without ids, the next answers would be taken for those of other questions.
      if (this.waiting.size > 0) this.kill(`it answered ${excerpt(line)}, which is the answer to no question`);
      return;
    }
    this.waiting.delete(id);
    if (answer === undefined) waiting.reject(new ProgramFailure(`it answered ${excerpt(line)}, expected JSON`, false));
    else waiting.resolve(answer);
  }

  ask(question: object): Promise<unknown> {
    if (!this.isAlive) return Promise.reject(new ProgramFailure(this.why ?? 'it has ended', true));
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.child.stdin?.write(`${JSON.stringify({ id, ...question })}\n`);
    });
  }

  kill(reason: string): void {
    this.why ??= reason;
    this.isAlive = false;
    this.child.kill('SIGKILL');
    this.dropPipes();
  }

  /** The program has ended; its last words are read, unless a child of its own keeps the pipes open. */
  private letGo(): void {
    const timer = setTimeout(() => this.dropPipes(), CLOSE_MS);
    this.child.once('close', () => clearTimeout(timer));
  }

  /** Without pipes a program is not waited for, whoever holds their other ends. */
  private dropPipes(): void {
    for (const pipe of [this.child.stdin, this.child.stdout, this.child.stderr]) pipe?.destroy();
  }

  async close(): Promise<void> {
    this.child.stdin?.end();
    const timer = setTimeout(() => this.kill('it was closed'), CLOSE_MS);
    await this.ended;
    clearTimeout(timer);
  }
}

/** A JSON object; undefined for any other line. */
function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return value !== null && typeof value === 'object' && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Starts a program, without a shell. @param command the program and its arguments. */
export function startProgram(command: readonly string[]): Program {
  return new RunningProgram(command);
}
