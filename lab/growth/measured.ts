import { monotonicMs } from '../../src/base/clock.ts';
import { alignColumns } from '../../src/cli/command-output.ts';

/** Work of one kind at several sizes. */
export interface Growth {
  readonly work: string;
  /** The unit of the sizes: attacks, tokens, rows. */
  readonly of: string;
  readonly points: readonly GrowthPoint[];
}

export interface GrowthPoint {
  readonly size: number;
  /** Processor time of this process, s. */
  readonly seconds: number;
}

/** Below this a time is mostly what every call costs. */
const LEAST_SECONDS = 0.02;

/** How work is measured, and who is told of it. */
export interface Measuring {
  say(line: string): void;
  /** The same work is repeated for so long; a half second when absent. */
  readonly repeatMs?: number;
}

/** Processor time of `work`: the least of its runs. */
export async function cpuSeconds(work: () => unknown, { repeatMs = 500 }: Measuring): Promise<number> {
  const began = monotonicMs();
  let seconds = Number.POSITIVE_INFINITY;
  for (;;) {
    const before = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(before);
    seconds = Math.min(seconds, (user + system) / 1e6);
    if (monotonicMs() - began >= repeatMs) return seconds;
  }
}

/**
 * The exponent between the last two sizes: 1 where twice the size takes twice the time. Undefined where the times are too
 * short to tell.
 */
export function slopeOf({ points }: Growth): number | undefined {
  const [before, last] = points.slice(-2);
  if (before === undefined || last === undefined || before.seconds < LEAST_SECONDS) return undefined;
  return Math.log(last.seconds / before.seconds) / Math.log(last.size / before.size);
}

function timeText(seconds: number): string {
  if (seconds < 0.01) return `${(1000 * seconds).toFixed(1)} ms`;
  return seconds < 1 ? `${(1000 * seconds).toFixed(0)} ms` : `${seconds.toFixed(1)} s`;
}

/** One table for each set of sizes. */
export function growthText(growths: readonly Growth[]): string {
  const groups = new Map<string, Growth[]>();
  for (const growth of growths) {
    const key = `${growth.of}: ${growth.points.map(({ size }) => size).join(' ')}`;
    groups.set(key, [...(groups.get(key) ?? []), growth]);
  }
  return [...groups.values()]
    .map((group) => {
      const [first] = group as [Growth, ...Growth[]];
      const head = [first.of, ...first.points.map(({ size }) => size.toLocaleString('en-US')), 'exponent'];
      const rows = group.map((growth) => [
        growth.work,
        ...growth.points.map(({ seconds }) => timeText(seconds)),
        slopeOf(growth)?.toFixed(2) ?? 'too short',
      ]);
      return alignColumns([head, ...rows]);
    })
    .join('\n\n');
}
