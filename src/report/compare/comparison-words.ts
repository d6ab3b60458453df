import type { Measure } from '../../metrics/measure.ts';
import { counted, measureText } from '../words/number-words.ts';
import type { Comparison } from './compare-runs.ts';
import type { WayState } from './compared-ways.ts';

/** A state of a way in the last run, in words. */
export const STATE_WORDS: Readonly<Record<WayState, string>> = {
  new: 'new: in no earlier run',
  back: 'came back: closed in the run before, open again',
  open: 'still open',
  closed: 'closed: attacks that hold its cause were asked, none succeeded',
  unseen: 'not asked: no attack of the last run holds its cause, so it may be open',
};

/** A figure of an attacker as every place shows it, and which way it went. */
export interface FigureRow {
  readonly attacker: string;
  readonly figure: string;
  /** In the order of the runs. */
  readonly values: readonly string[];
  readonly difference: string;
  /** Of the last run against the first. `unclear`: the interval of the difference holds 0. */
  readonly direction: 'lower' | 'higher' | 'unclear' | 'no interval';
}

function directionOf(difference: Measure | undefined): FigureRow['direction'] {
  const { low = null, high = null } = difference ?? {};
  if (low === null || high === null) return 'no interval';
  if (low > 0) return 'higher';
  return high < 0 ? 'lower' : 'unclear';
}

/** The figures of a comparison, a row each. */
export function figureRows({ attackers }: Comparison): FigureRow[] {
  return attackers.flatMap(({ attacker, figures }) =>
    figures.map(({ name, values, difference }) => {
      const digits = name === 'success rate' ? undefined : 0;
      return {
        ...{ attacker, figure: name, values: values.map((value) => measureText(value, digits)) },
        difference: measureText(difference, digits),
        direction: directionOf(difference),
      };
    }),
  );
}

/** The attacks that the first and the last run share, in a sentence. */
export function sharedWords({ runs, shared }: Comparison): string {
  if (shared === undefined) return 'Attacks in common are not paired: the runs have different judges.';
  const { counts, difference } = shared;
  if (difference.n === 0) return 'No attack was asked in both the first and the last run.';
  const first = counts.both + counts.firstOnly;
  const last = counts.both + counts.secondOnly;
  const asked = `${counted(difference.n, 'attack')} asked in both ${runs[0]?.name} and ${runs.at(-1)?.name}`;
  return `${asked}: ${first} and ${last} succeeded, a difference of ${measureText(difference)} (paired)`;
}
