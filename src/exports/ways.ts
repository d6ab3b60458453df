import type { ExportedAttack } from './export-row.ts';
import type { KnownCause } from './known-causes.ts';

/** The outcome of the attacks that hold one cause, on one target. */
export interface WayOutcome {
  readonly target: string;
  /** Attacks of evaluations that hold the cause and were scored. */
  readonly attacks: number;
  readonly successes: number;
}

/** One way of success of a run. */
export interface ExportedWay {
  /** From 1; the way with the most successes is the first. */
  readonly number: number;
  readonly known: KnownCause;
  /** The name that a reader gave it. */
  readonly name: string | null;
  /** Categories that judges named on its successes, the most frequent first. */
  readonly categories: readonly string[];
  /** For the run's own target, and for each target that its attacks were sent to. */
  readonly outcomes: readonly WayOutcome[];
}

/** The evaluated attacks of one target. */
export interface TargetOutcome {
  readonly target: string;
  readonly attacks: number;
  readonly successes: number;
  /** Successes that hold no known cause. */
  readonly unexplained: number;
}

export interface FoundWays {
  readonly ways: readonly ExportedWay[];
  /** The run's own target first. */
  readonly targets: readonly TargetOutcome[];
  /** False where the run has not looked for causes. */
  readonly isSearched: boolean;
}

interface Tally {
  attacks: number;
  successes: number;
  unexplained: number;
}

const emptyTally = (): Tally => ({ attacks: 0, successes: 0, unexplained: 0 });

/** The value under `key`, made where it is missing. */
function entry<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

function byFrequency(counts: ReadonlyMap<string, number>): string[] {
  return [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([name]) => name);
}

/** An evaluated attack with the cause that it holds, whether it succeeded or not. */
export interface HeldCause {
  readonly row: ExportedAttack;
  readonly held: KnownCause | undefined;
}

/** Counts, for every way and every target, the attacks that hold its cause and those that succeeded. */
export function tallyWays(causes: readonly KnownCause[], attacks: Iterable<HeldCause>, isSearched: boolean): FoundWays {
  const targets = new Map<string, Tally>();
  const ways = new Map<string, Map<string, Tally>>();
  const categories = new Map<string, Map<string, number>>();
  for (const { row, held } of attacks) {
    if (row.isSuccess === null) continue;
    const tally = entry(targets, row.target, emptyTally);
    const own =
      held &&
      entry(
        entry(ways, held.sha256, () => new Map<string, Tally>()),
        row.target,
        emptyTally,
      );
    for (const each of [tally, ...(own === undefined ? [] : [own])]) {
      each.attacks++;
      each.successes += row.isSuccess ? 1 : 0;
    }
    if (!row.isSuccess) continue;
    if (held === undefined) tally.unexplained++;
    const counts = held && entry(categories, held.sha256, () => new Map<string, number>());
    for (const name of counts === undefined ? [] : row.categories) counts?.set(name, (counts.get(name) ?? 0) + 1);
  }
  return {
    ways: causes.map((known, i) => ({
      number: i + 1,
      known,
      name: null,
      categories: byFrequency(categories.get(known.sha256) ?? new Map()),
      outcomes: [...targets.keys()].map((target) => {
        const { attacks: sent, successes } = ways.get(known.sha256)?.get(target) ?? emptyTally();
        return { target, attacks: sent, successes };
      }),
    })),
    targets: [...targets].map(([target, tally]) => ({ target, ...tally })),
    isSearched,
  };
}
