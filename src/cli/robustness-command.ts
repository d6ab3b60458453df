import type { Command } from 'commander';
import type { Measure } from '../metrics/measure.ts';
import { measureRobustness } from '../report/campaigns.ts';
import { measureText } from '../report/words/number-words.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import {
  BASE,
  type Robustness,
  type RobustnessCell,
  type TargetVersion,
  type Utility,
} from '../studies/robustness/robustness-file.ts';
import { alignColumns, type CommandResult, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, callsIo } from './context.ts';
import {
  addCallOptions,
  addRunsOption,
  addSetOption,
  type CallOptions,
  type RunsOptions,
  type SetOptions,
} from './options.ts';
import { announceStudy } from './start-line.ts';

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
      // The attacker's own evaluation against the base is shown beside its retrained figures, never alone.
      if (found.filter((cell) => cell !== undefined).length < (how === 'retrained' ? 2 : 1)) return [];
      return [[attacker, how === 'replayed' ? 'replayed' : 'retrained', ...found.map((cell) => cellText(cell, judge))]];
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

/** The needless refusals of each version of a target, and its remaining use. */
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
function robustnessText(robustness: Robustness): string {
  const { reportedJudge, cells, targets, leftOut } = robustness;
  const judges = [...new Set(cells.flatMap(({ judges }) => judges.map(({ name }) => name)))];
  const shown = [reportedJudge, ...judges.filter((name) => name !== reportedJudge)];
  return [
    ...shown.flatMap((judge) => [`success rate, by ${judge}`, matrixText(robustness, judge), '']),
    '* the target learned to refuse exactly these attacks: no evidence of resistance',
    '',
    usefulnessText(targets),
    ...targets.flatMap(({ name, warnings }) => warnings.map((warning) => `warning: ${columnOf(name)}: ${warning}`)),
    ...leftOut.map(({ data, tried }) => `left out: no target tuned on ${data}, none of its ${tried} attacks succeeded`),
  ].join('\n');
}

interface RobustnessOptions extends RunsOptions, SetOptions, CallOptions {
  readonly data?: readonly string[];
  readonly attackers?: readonly string[];
  /** False under `--no-retrain`. */
  readonly retrain?: readonly string[] | false;
}

const EXAMPLES = `
Tunes the run's target on the successes of each attacker, with equally many, then attacks every version with every attacker
of the run: it replays the stored attacks, and trains some attackers from scratch. Beside the success rates it shows the
needless refusals and the remaining use of each version, because a version that refuses everything would look safe.
docs/robustness.md says how to read it.

Examples:
  floodgate robustness demo
  floodgate robustness smollm2 --data smoothing ppo --retrain smoothing
  floodgate robustness smollm2 --no-retrain --set tuning.epochs=3 --json

The same command resumes where it stopped: it keeps the tuned targets in RUN/tuned/robustness-DATA and the retrained
attackers in RUN/robustness/DATA/ATTACKER, each of them a run of its own.`;

async function measure(run: string, options: RobustnessOptions, context: CliContext): Promise<CommandResult> {
  const folder = await openRunFolder(run, options.runsDir);
  announceStudy(`robustness of ${folder.name}`, folder.path, context);
  const { data, attackers, retrain, set } = options;
  const { robustness, pagePath } = await measureRobustness(
    folder,
    {
      overrides: set,
      ...(data === undefined ? {} : { data }),
      ...(attackers === undefined ? {} : { attackers }),
      ...(retrain === undefined ? {} : { retrain: retrain === false ? [] : retrain }),
    },
    callsIo(context, options),
  );
  return { text: `${robustnessText(robustness)}\n\nReport to read in a browser: ${pagePath}`, json: robustness };
}

/** Adds `floodgate robustness`. */
export function registerRobustnessCommand(program: Command, context: CliContext): void {
  addCallOptions(addSetOption(addRunsOption(program.command('robustness').description(COMMAND_WORDS.robustness))))
    .argument('<run>', 'name or path of the run')
    .option(
      '--data <name...>',
      'tune on the successes of these attackers (default: sft reinforce ppo gflownet smoothing)',
    )
    .option('--attackers <name...>', 'replay the attacks of these only (default: all evaluated)')
    .option('--retrain <name...>', 'retrain these against each tuned target (default: smoothing ppo)')
    .option('--no-retrain', 'retrain none')
    .addHelpText('after', EXAMPLES)
    .action(async (run: string, options: RobustnessOptions) =>
      printResult(context, await measure(run, options, context)),
    );
}
