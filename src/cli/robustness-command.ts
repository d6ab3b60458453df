import type { Command } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { writeReport } from '../report/figures/report-json.ts';
import { readRun } from '../report/run-overview.ts';
import { writeReportPage } from '../report/write-report-page.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import { runRobustness } from '../studies/robustness/run-robustness.ts';
import { type CommandResult, printResult } from './command-result.ts';
import { addRunsOption, addSetOption, type RunsOptions, type SetOptions } from './common-options.ts';
import type { CliContext } from './context.ts';
import { robustnessText } from './robustness-text.ts';

interface RobustnessOptions extends RunsOptions, SetOptions {
  readonly data?: readonly string[];
  readonly attackers?: readonly string[];
  /** False under `--no-retrain`. */
  readonly retrain?: readonly string[] | false;
}

const EXAMPLES = `
Tunes the run's target on the successes of each attacker, with equally many, then lets every attacker of the run loose on
every version: its stored attacks replayed, and some attackers trained again from the start. Beside the success rates stand
what each version refuses without need and what it is still good for, so that one that refuses everything does not look
safe. docs/robustness.md says how to read it.

Examples:
  floodgate robustness demo
  floodgate robustness smollm2 --data smoothing ppo --retrain smoothing
  floodgate robustness smollm2 --no-retrain --set tuning.epochs=3 --json

The same command goes on where it stopped: what is tuned, asked and trained is kept, in RUN/tuned/robustness-DATA and
RUN/robustness/DATA/ATTACKER, each of the latter a run of its own.`;

async function measure(run: string, options: RobustnessOptions, context: CliContext): Promise<CommandResult> {
  const folder = await openRunFolder(run, options.runsDir);
  const { data, attackers, retrain, set } = options;
  const { progress, signal, cacheDir } = context;
  const robustness = await runRobustness(
    folder,
    {
      overrides: set,
      ...(data === undefined ? {} : { data }),
      ...(attackers === undefined ? {} : { attackers }),
      ...(retrain === undefined ? {} : { retrain: retrain === false ? [] : retrain }),
    },
    { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) },
  );
  return readRun(folder, async ({ report }) => {
    if (report === undefined) throw new FloodgateError('run', `robustness ${folder.name}: the run has no manifest`);
    await writeReport(folder.reportPath, report);
    const page = await writeReportPage(folder, { withTexts: true }, context);
    return { text: `${robustnessText(robustness)}\n\nReport to read in a browser: ${page.path}`, json: robustness };
  });
}

/** Adds `floodgate robustness`. */
export function registerRobustnessCommand(program: Command, context: CliContext): void {
  const description = 'every attacker of a run against versions of its target that were tuned to refuse';
  addSetOption(addRunsOption(program.command('robustness').description(description)))
    .argument('<run>', 'name or path of the run')
    .option(
      '--data <name...>',
      'tune on the successes of these attackers (default: sft reinforce ppo gflownet smoothing)',
    )
    .option('--attackers <name...>', 'replay the attacks of these only (default: all evaluated)')
    .option('--retrain <name...>', 'train these again against each tuned target (default: smoothing ppo)')
    .option('--no-retrain', 'train none again')
    .addHelpText('after', EXAMPLES)
    .action(async (run: string, options: RobustnessOptions) =>
      printResult(context, await measure(run, options, context)),
    );
}
