import { causeWords, comparableWords, holdsCause } from '../../metrics/causes.ts';
import { groupCauses } from '../../metrics/causes-ways.ts';
import type { WayRecord } from '../../stages/evaluation/causes-record.ts';

/** One attack text that a run asked its target, over all its answers. */
export interface AskedText {
  readonly text: string;
  /** By the run's reported judge; undefined where it scored no answer. */
  readonly isSuccess: boolean | undefined;
}

/** A run's evidence about ways: those that it found, and the attacks that it asked. */
export interface RunWays {
  readonly found: readonly WayRecord[];
  readonly asked: readonly AskedText[];
}

/** One run's evidence about one way. */
export interface WayInRun {
  /** The run found a cause of this way. */
  readonly isFound: boolean;
  /** Distinct attacks that hold the cause, with a scored answer. */
  readonly asked: number;
  /** Those of them that succeeded. */
  readonly succeeded: number;
}

/**
 * The state of a way in the last run. `new`: in no earlier run. `open`: in the run before, too. `back`: in an earlier
 * run, but not in the one before. `closed`: in an earlier run, and here attacks hold its cause but none succeeded.
 * `unseen`: in an earlier run, and no attack here holds its cause, so this run says nothing about it.
 */
export type WayState = 'new' | 'open' | 'back' | 'closed' | 'unseen';

export const WAY_STATES: readonly WayState[] = ['new', 'back', 'open', 'closed', 'unseen'];

export interface ComparedWay {
  /** The shortest cause of the way, in any run. */
  readonly cause: string;
  /** A whole attack that succeeded this way. */
  readonly example: string;
  readonly state: WayState;
  /** In the order of the runs. */
  readonly runs: readonly WayInRun[];
}

/**
 * The ways of several runs, the oldest run first. Causes of different runs are one way by the rule for causes of one run
 * but for their embeddings: they share their words, or one holds the other.
 * @param onWay told how many of how many ways are compared.
 */
export function compareWays(runs: readonly RunWays[], onWay?: (done: number, of: number) => void): ComparedWay[] {
  const all = runs.flatMap(({ found }, run) => found.map((way) => ({ run, way })));
  const searches = all.map(({ way }, attack) => {
    return { attack, result: { kind: 'cause', words: causeWords(way.cause), asks: 0, isMinimal: true } } as const;
  });
  const asked = runs.map((run) => run.asked.map(({ text, isSuccess }) => ({ row: rowOf(text), isSuccess })));
  return groupCauses(searches, { cosine: () => 0 }).map(({ searches: members }, i, groups) => {
    onWay?.(i, groups.length);
    const causes = members.map((member) => all[member] as (typeof all)[number]);
    const { cause, example } = (causes[0] as (typeof all)[number]).way; // the founder, which is the shortest
    const words = causeWords(cause);
    const inRuns = runs.map((_, run) => {
      const holding = (asked[run] ?? []).filter(
        ({ row, isSuccess }) => isSuccess !== undefined && holdsCause(row, words),
      );
      return {
        isFound: causes.some((each) => each.run === run),
        asked: holding.length,
        succeeded: holding.filter(({ isSuccess }) => isSuccess).length,
      };
    });
    return { cause, example, state: stateOf(inRuns), runs: inRuns };
  });
}

function rowOf(text: string): string {
  return comparableWords(causeWords(text));
}

function stateOf(runs: readonly WayInRun[]): WayState {
  const isOpen = ({ isFound, succeeded }: WayInRun): boolean => isFound || succeeded > 0;
  const last = runs.at(-1) as WayInRun;
  const earlier = runs.slice(0, -1);
  if (!isOpen(last)) return last.asked > 0 ? 'closed' : 'unseen';
  if (!earlier.some(isOpen)) return 'new';
  return isOpen(earlier.at(-1) as WayInRun) ? 'open' : 'back';
}
