import { causeWords, comparableWords, holdsCause } from '../metrics/causes.ts';
import type { StoreQueries } from '../runs/store/queries.ts';
import { causeSha256, storedCauses, type WayRecord } from '../stages/evaluation/causes-record.ts';

/** One cause of a run; two stages may have found the same. */
export interface KnownCause {
  /** Of its words without case and punctuation: the same cause has the same hash in every run. */
  readonly sha256: string;
  readonly cause: string;
  /** Other causes of the same way. */
  readonly variants: readonly string[];
  /** A whole attack that succeeded this way. */
  readonly example: string;
  readonly isEcho: boolean;
  /** The stages that found it, with their successes. */
  readonly stages: readonly { readonly stage: string; readonly successes: number }[];
  readonly successes: number;
}

function addCause(known: Map<string, KnownCause>, stage: string, way: WayRecord): void {
  const { cause, example, isEcho, successes, variants = [] } = way;
  const sha256 = causeSha256(cause);
  const before = known.get(sha256);
  known.set(sha256, {
    ...(before ?? { sha256, cause, example, isEcho }),
    variants: [...(before === undefined ? [] : [...before.variants, cause]), ...variants],
    stages: [...(before?.stages ?? []), { stage, successes }],
    successes: (before?.successes ?? 0) + successes,
  });
}

/** The causes of a run's ways, that with the most successes first; empty where they were not looked for. */
export function knownCauses(store: StoreQueries, stages: readonly string[]): KnownCause[] {
  const known = new Map<string, KnownCause>();
  for (const stage of stages) {
    for (const way of storedCauses(store, stage)?.ways ?? []) addCause(known, stage, way);
  }
  return [...known.values()].sort((a, b) => b.successes - a.successes || (a.sha256 < b.sha256 ? -1 : 1));
}

/**
 * Finds the way whose cause, or a variant of it, an attack holds: the longest, which says most. Of equals a cause comes
 * before a variant, and the way with more successes before the other.
 */
export function createCauseFinder(causes: readonly KnownCause[]): (attack: string) => KnownCause | undefined {
  const byLength = causes
    .flatMap((each) =>
      [each.cause, ...each.variants].map((cause, i) => ({ each, words: causeWords(cause), isOwn: i === 0 })),
    )
    .filter(({ words }) => words.length > 0)
    .sort((a, b) => b.words.length - a.words.length || Number(b.isOwn) - Number(a.isOwn));
  if (byLength.length === 0) return () => undefined;
  return (attack) => {
    const row = comparableWords(causeWords(attack));
    return byLength.find(({ words }) => holdsCause(row, words))?.each;
  };
}
