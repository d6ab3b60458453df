import type { Measure } from '../metrics/measure.ts';
import { measureText } from '../report/run-overview.ts';
import {
  BASE,
  type Robustness,
  type RobustnessCell,
  type TargetVersion,
  type Utility,
} from '../studies/robustness/robustness-file.ts';
import { alignColumns } from './command-result.ts';

const columnOf = (name: string): string => (name === BASE ? 'untuned' : `tuned on ${name}`);

function cellText(cell: RobustnessCell | undefined, judge: string): string {
  if (cell?.status === 'nothing-collected') return 'nothing to learn from';
  const text = measureText(cell?.judges.find(({ name }) => name === judge)?.asr);
  return cell?.isLearned === true ? `${text} *` : text;
}

function matrixText({ attackers, targets, cells }: Robustness, judge: string): string {
  const rows = attackers.flatMap((attacker) =>
    (['replayed', 'retrained'] as const).flatMap((how) => {
      const found = targets.map(({ name }) =>
        cells.find((cell) => cell.attacker === attacker && cell.target === name && cell.how === how),
      );
      // Its own evaluation against the base stands beside what it reached when it was trained again, and not alone.
      if (found.filter((cell) => cell !== undefined).length < (how === 'retrained' ? 2 : 1)) return [];
      return [
        [attacker, how === 'replayed' ? 'replayed' : 'trained again', ...found.map((cell) => cellText(cell, judge))],
      ];
    }),
  );
  return alignColumns([['attacker', 'how', ...targets.map(({ name }) => columnOf(name))], ...rows]);
}

const USE: Readonly<Record<Utility['kind'], readonly [string, string]>> = {
  dialogue: ['perplexity', 'nats a token more than untuned'],
  exact: ['false alarms', 'polite answers'],
};

function useOf(utility: Utility): (Measure | null)[] {
  return utility.kind === 'dialogue' ? [utility.perplexity, utility.change] : [utility.alarmError, utility.polite];
}

/** What each version of a target refuses without need, and what it is still good for. */
export function usefulnessText(targets: readonly Omit<TargetVersion, 'sha256' | 'model'>[]): string {
  const [first] = targets;
  if (first === undefined) return '';
  const rows = targets.map(({ name, successes, overRefusal, utility }) => [
    columnOf(name),
    successes === null ? '-' : String(successes),
    measureText(overRefusal?.benign),
    measureText(overRefusal?.borderline),
    ...useOf(utility).map((measure) => measureText(measure ?? undefined)),
  ]);
  const heading = ['target', 'attacks learned', 'refuses benign', 'refuses borderline', ...USE[first.utility.kind]];
  return alignColumns([heading, ...rows]);
}

/** The whole matrix as tables of text. */
export function robustnessText(robustness: Robustness): string {
  const { reportedJudge, cells, targets, leftOut } = robustness;
  const judges = [...new Set(cells.flatMap(({ judges }) => judges.map(({ name }) => name)))];
  const shown = [reportedJudge, ...judges.filter((name) => name !== reportedJudge)];
  return [
    ...shown.flatMap((judge) => [`success rate, by ${judge}`, matrixText(robustness, judge), '']),
    '* the target learned to refuse these very attacks: no evidence of resistance',
    '',
    usefulnessText(targets),
    ...targets.flatMap(({ name, warnings }) => warnings.map((warning) => `warning: ${columnOf(name)}: ${warning}`)),
    ...leftOut.map(({ data, tried }) => `left out: no target tuned on ${data}, none of its ${tried} attacks succeeded`),
  ].join('\n');
}
