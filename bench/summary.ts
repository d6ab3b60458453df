import type { SideRun } from './interleave.ts';
import type { Answer } from './line-process.ts';
import type { FigureName, RatioSpec } from './work.ts';

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly all: readonly number[];
}

export interface RatioResult extends RatioSpec {
  /** Undefined when one of its sides has no figure; `missing` says which. */
  readonly value?: Spread;
  readonly missing?: string;
  /** Whether the median reaches the goal; absent without a goal or a value. */
  readonly isReached?: boolean;
}

/** Median, smallest and largest of at least one number. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1), all: values };
}

/** Every number of an answer, nested ones by dots; the number of the run is none. */
export function figuresOf(answer: Answer, prefix = ''): Map<string, number> {
  const figures = new Map<string, number>();
  for (const [key, value] of Object.entries(answer)) {
    const name = prefix + key;
    if (typeof value === 'number' && name !== 'run') figures.set(name, value);
    if (typeof value === 'object' && value !== null) {
      for (const [nested, number] of figuresOf(value as Answer, `${name}.`)) figures.set(nested, number);
    }
  }
  return figures;
}

/** Spread of each figure over the counted rounds. */
export function sideFigures(run: SideRun): Record<string, Spread> {
  const rounds = run.answers.map((answer) => figuresOf(answer));
  const names = [...(rounds[0]?.keys() ?? [])];
  return Object.fromEntries(
    names.map((name) => [name, spreadOf(rounds.map((figures) => figures.get(name) ?? Number.NaN))]),
  );
}

function valuesOf(runs: readonly SideRun[], { side, figure }: FigureName): number[] | undefined {
  const answers = runs.find(({ name }) => name === side)?.answers ?? [];
  const values = answers.map((answer) => figuresOf(answer).get(figure));
  return values.length > 0 && values.every((value) => value !== undefined) ? values : undefined;
}

/** The ratio of each round, and whether their median reaches the goal. */
export function ratioOf(runs: readonly SideRun[], spec: RatioSpec): RatioResult {
  const top = valuesOf(runs, spec.top);
  const bottom = valuesOf(runs, spec.bottom);
  if (top === undefined || bottom === undefined) {
    const { side, figure } = top === undefined ? spec.top : spec.bottom;
    return { ...spec, missing: `${side} has no ${figure}` };
  }
  const value = spreadOf(top.map((number, round) => number / (bottom[round] ?? Number.NaN)));
  if (spec.goal === undefined) return { ...spec, value };
  const { atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = spec.goal;
  return { ...spec, value, isReached: value.median >= atLeast && value.median <= atMost };
}
