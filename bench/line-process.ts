import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export type Answer = Readonly<Record<string, unknown>>;

/** Of a side's stderr, kept for the message when it dies. */
const KEPT_STDERR_CHARS = 2000;
/** A side that has not ended this long after its stdin closed is killed. */
const EXIT_GRACE_MS = 5000;

/** A long-lived child process that answers each JSON line on stdin with one on stdout. */
export class LineProcess {
  /** Its first line: `ready`, `versions`, `settings`, memory. */
  readonly ready: Promise<Answer>;
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly ended: Promise<void>;
  private readonly waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void }[] = [];
  private stderr = '';
  private failure: Error | undefined;

  constructor(command: string, args: readonly string[]) {
    this.child = spawn(command, args, { stdio: 'pipe' });
    this.child.stderr.on('data', (chunk: Buffer) => {
      this.stderr = (this.stderr + chunk.toString()).slice(-KEPT_STDERR_CHARS);
    });
    this.child.stdin.on('error', () => undefined); // a dead child is reported by its exit
    createInterface({ input: this.child.stdout }).on('line', (line) => this.onLine(line));
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => {
        this.fail(new Error(`${command} could not be started: ${error.message}`));
        resolve();
      });
      this.child.on('close', (code, signal) => {
        const stderr = this.stderr.trim();
        const lastLine = stderr.split('\n').at(-1) ?? ''; // of a traceback, the one that says what is wrong
        const how = signal ?? `exit code ${code}`;
        this.fail(new Error(`the process ended (${how}): ${lastLine}`, { cause: stderr }));
        resolve();
      });
    });
    this.ready = this.nextAnswer();
    this.ready.catch(() => undefined); // whoever awaits it hears of it
  }

  /** Answers run `index`. Rejects when the process dies first. */
  run(index: number): Promise<Answer> {
    const answer = this.nextAnswer();
    this.child.stdin.write(`${JSON.stringify({ run: index })}\n`);
    return answer;
  }

  /** Closes its stdin and waits for its end. */
  async close(): Promise<void> {
    this.child.stdin.end();
    const timer = setTimeout(() => this.child.kill('SIGKILL'), EXIT_GRACE_MS);
    await this.ended;
    clearTimeout(timer);
  }

  private nextAnswer(): Promise<Answer> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
    });
  }

  private onLine(line: string): void {
    if (!line.startsWith('{')) return; // a library's own chatter
    const waiter = this.waiting.shift();
    try {
      waiter?.resolve(JSON.parse(line) as Answer);
    } catch {
      waiter?.reject(new Error(`answered what is not JSON: ${line.slice(0, 200)}`));
    }
  }

  private fail(error: Error): void {
    this.failure ??= error;
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }
}
