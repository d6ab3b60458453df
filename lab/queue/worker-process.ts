import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** `floodgate worker` as a process of its own. */
export interface WorkerProcess {
  readonly child: ChildProcess;
  /** All that it printed so far, both streams. */
  readonly output: () => string;
  /** Ends when the output matches. */
  printed(pattern: RegExp): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
}

export interface WorkerPlace {
  /** `main.js` of the compiled command line. */
  readonly mainPath: string;
  readonly folder: string;
  readonly cacheFolder?: string | undefined;
}

export function startWorker(
  { mainPath, folder, cacheFolder }: WorkerPlace,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): WorkerProcess {
  const cache = cacheFolder === undefined ? [] : ['--cache-dir', cacheFolder];
  const child = spawn(process.execPath, [mainPath, 'worker', ...args, ...cache], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const watchers = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      for (const look of watchers) look();
    });
  const end = (): void => void child.kill('SIGKILL');
  process.once('exit', end);
  const ended = once(child, 'close').then(([code, signal]) => {
    process.off('exit', end);
    for (const look of watchers) look();
    return { code: code as number | null, signal: signal as string | null };
  });
  return {
    child,
    ended,
    output: () => output,
    kill: (signal) => void child.kill(signal),
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (pattern.test(output)) resolve();
          else if (child.exitCode !== null || child.signalCode !== null)
            reject(new Error(`the worker ended before it printed ${pattern}: ${output}`));
          else return;
          watchers.delete(look);
        };
        watchers.add(look);
        look();
      }),
  };
}
