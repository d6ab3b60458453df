import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { monotonicMs } from '../../src/base/clock.ts';
import { ownVersions } from '../machine.ts';

export interface SideOptions {
  readonly threads: number;
  readonly isSmall: boolean;
  readonly batch: number;
  readonly variant: string;
  readonly gguf: string | undefined;
  /** Name of the work whose arithmetic `limit` times. */
  readonly of: string;
  /** Folder of the model cache: weight files are written below it once. */
  readonly cacheDir: string;
}

/** One of our processes, ready to run: `run(n)` seeds its inputs with n and returns figures beside the seconds. */
export interface Side {
  readonly name: string;
  readonly settings: Readonly<Record<string, unknown>>;
  run(index: number): Promise<Readonly<Record<string, unknown>>>;
}

/** `VmRSS` or `VmHWM` of this process, in bytes; where the system does not say, Node's own figure. */
export function memoryBytes(field: 'VmRSS' | 'VmHWM'): number {
  try {
    const kilobytes = new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // no /proc here
  }
  return field === 'VmRSS' ? process.memoryUsage.rss() : process.resourceUsage().maxRSS * 1024;
}

/** Seconds that `work` takes, and what it returns. */
export async function timed<T>(work: () => Promise<T>): Promise<{ readonly seconds: number; readonly value: T }> {
  const start = monotonicMs();
  const value = await work();
  return { seconds: (monotonicMs() - start) / 1000, value };
}

function say(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Speaks the protocol of `peers/protocol.py` until stdin ends. */
export async function serve(open: () => Promise<Side>, settings: Readonly<Record<string, unknown>>): Promise<void> {
  const importMemoryBytes = memoryBytes('VmRSS');
  const side = await open();
  say({
    ready: side.name,
    versions: ownVersions(),
    settings: { ...settings, ...side.settings },
    importMemoryBytes,
    startMemoryBytes: memoryBytes('VmRSS'),
  });
  for await (const line of createInterface({ input: process.stdin })) {
    const { run: index } = JSON.parse(line) as { run: number };
    const { seconds, value } = await timed(() => side.run(index));
    say({ name: side.name, run: index, seconds, peakMemoryBytes: memoryBytes('VmHWM'), ...value });
  }
}
