import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SideRun } from './interleave.ts';
import type { Machine } from './machine.ts';
import { type RatioResult, ratioOf, type Spread, sideFigures } from './summary.ts';
import type { Group } from './work.ts';

export interface GroupResult {
  readonly name: string;
  readonly sides: readonly {
    readonly name: string;
    readonly failure?: string;
    readonly versions: unknown;
    readonly settings: unknown;
    readonly importMemoryBytes: unknown;
    readonly startMemoryBytes: unknown;
    readonly figures: Readonly<Record<string, Spread>>;
  }[];
  readonly ratios: readonly RatioResult[];
}

/** `bench/results/WORK.json`. */
export interface BenchResult {
  readonly schemaVersion: 1;
  readonly work: string;
  readonly title: string;
  readonly date: string;
  readonly rounds: number;
  readonly warmupRounds: number;
  readonly threads: number;
  readonly isSmall: boolean;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly groups: readonly GroupResult[];
}

/** Settings as the side tells them, without paths of this machine. */
function withoutPaths(settings: unknown): unknown {
  if (typeof settings !== 'object' || settings === null) return settings;
  return Object.fromEntries(
    Object.entries(settings).filter(([, value]) => !(typeof value === 'string' && value.includes('/'))),
  );
}

export function groupResult(group: Group, runs: readonly SideRun[]): GroupResult {
  return {
    name: group.name,
    sides: runs.map((run) => ({
      name: run.name,
      ...(run.failure === undefined ? {} : { failure: run.failure }),
      versions: run.ready?.versions ?? {},
      settings: withoutPaths(run.ready?.settings ?? {}),
      importMemoryBytes: run.ready?.importMemoryBytes ?? null,
      startMemoryBytes: run.ready?.startMemoryBytes ?? null,
      figures: sideFigures(run),
    })),
    ratios: group.ratios.map((spec) => ratioOf(runs, spec)),
  };
}

export async function writeResult(folder: string, result: BenchResult): Promise<string> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${result.work}.json`);
  await writeFile(path, `${JSON.stringify(result, undefined, 2)}\n`);
  return path;
}

function digits(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Median and range, three digits. */
export function spreadText({ median, min, max }: Spread): string {
  return `${digits(median)} (${digits(min)}..${digits(max)})`;
}

/** The goal's bounds and whether the median reaches them; empty without a goal. */
export function goalText({ goal, isReached }: RatioResult): string {
  if (goal === undefined) return '';
  const bounds = [
    goal.atLeast === undefined ? '' : `>= ${goal.atLeast}`,
    goal.atMost === undefined ? '' : `<= ${goal.atMost}`,
  ].filter(Boolean);
  const outcome = isReached === undefined ? '' : isReached ? ', reached' : ', NOT reached';
  return `${bounds.join(' and ')}${outcome}`;
}

/** Bytes read as MB; everything else as it is measured. */
export function figureText(name: string, spread: Spread): string {
  if (!name.endsWith('Bytes')) return `${name} ${spreadText(spread)}`;
  return `${name.replace(/Bytes$/, '')} ${digits(spread.median / 1e6)} MB`;
}

/** The group as text: each side with its figures, then a line a ratio. */
export function groupTable({ name, sides, ratios }: GroupResult): string {
  const lines = sides.flatMap((side) => {
    if (side.failure !== undefined) return [`  ${side.name}: NOT RUN, ${side.failure}`];
    const figures = Object.entries(side.figures).map(([figure, spread]) => `    ${figureText(figure, spread)}`);
    return [`  ${side.name}`, ...figures];
  });
  const width = Math.max(...ratios.map(({ label }) => label.length));
  for (const ratio of ratios) {
    const value = ratio.value === undefined ? `- (${ratio.missing})` : spreadText(ratio.value);
    lines.push(`  ${ratio.label.padEnd(width)}  ${value}  ${goalText(ratio)}`.trimEnd());
  }
  return [name, ...lines].join('\n');
}
