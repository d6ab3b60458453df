import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import type { Measure } from '../metrics/measure.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import type { CheckResult } from '../studies/tune/tune-check.ts';
import type { TuneFile, TuneFolder } from '../studies/tune/tune-record.ts';
import { tuneRun } from '../studies/tune/tune-run.ts';
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

interface TuneOptions extends RunsOptions, SetOptions, CallOptions {
  readonly target?: string;
  readonly stage?: string;
  readonly name?: string;
  readonly template?: 'chat' | 'plain';
  readonly templates?: string;
  readonly benign?: string;
  readonly adapter?: string;
}

const EXAMPLES = `
Examples:
  floodgate tune smollm2
  floodgate tune smollm2 --target smollm2-135m-instruct --stage smoothing --name safe
  floodgate tune smollm2 --templates refusals.txt --set tuning.benign.share=0.6 --set tuning.epochs=3

The tuned model is the folder RUN/tuned/NAME/model: a further run takes it as target.model (./ before a relative path).
The config section tuning holds the settings; the same command resumes where it stopped.`;

function share({ value, low, high }: Measure): string {
  if (value === null || low === null || high === null) return '-';
  return `${value.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
}

function checkTable({ check }: TuneFile): string {
  const after = check?.after ?? null;
  if (check === null || after === null) return 'nothing was measured before and after (tuning.check)';
  const judges = Object.keys(check.before.trainingAttacks.asr);
  const rowsOf = (what: string, before: CheckResult, after: CheckResult): string[][] => [
    ...judges.map((judge) => [
      what,
      `P(unsafe) > 0.5 by ${judge}`,
      share(before.asr[judge] as Measure),
      share(after.asr[judge] as Measure),
    ]),
    [what, 'responses that refuse', share(before.refusals), share(after.refusals)],
  ];
  const sets = [
    ['attacks learned', 'trainingAttacks'],
    ['attacks held out', 'validationAttacks'],
    ['benign prompts', 'benign'],
    ['borderline prompts', 'borderline'],
  ] as const;
  const rows = sets.flatMap(([what, key]) => rowsOf(what, check.before[key], after[key]));
  return alignColumns([['prompts', 'share', 'before', 'after'], ...rows]);
}

function tunedResult(folder: TuneFolder, file: TuneFile): CommandResult {
  const { counts, training, warnings } = file;
  const loss = (value: number | null | undefined): string => value?.toFixed(3) ?? '-';
  const lines = [
    `${counts?.successes} of ${counts?.attacksTried} attacks of ${file.stage} were successes, ${counts?.used} used; refusals: ${counts?.refusalsByTarget} by the target, ${counts?.refusalsByTemplate} templates; ${counts?.benign} benign`,
    `${training?.updates} updates, those after ${training?.keptUpdates} kept; validation loss ${loss(training?.validationLossBefore)} -> ${loss(training?.validationLossKept)} nats a token`,
    '',
    checkTable(file),
    ...warnings.map((warning) => `warning: ${warning}`),
    '',
    `adapter, model, data set and tune.json: ${folder.path}`,
  ];
  return { text: lines.join('\n'), json: { ...file, folder: folder.path } };
}

/** Overrides of the config. Paths of the command line count from the current folder. */
function overridesOf({ set, templates, benign }: TuneOptions): string[] {
  const file = (key: string, path: string | undefined): string[] =>
    path === undefined ? [] : [`${key}=${JSON.stringify(resolve(path))}`];
  return [...set, ...file('tuning.refusals.templates', templates), ...file('tuning.benign.path', benign)];
}

async function runTune(run: string, options: TuneOptions, context: CliContext): Promise<CommandResult> {
  const folder = await openRunFolder(run, options.runsDir);
  announceStudy(`tune the target of ${folder.name}`, resolve(folder.path, 'tuned'), context);
  const { target, stage, name, template, adapter } = options;
  const outcome = await tuneRun(
    {
      folder,
      overrides: overridesOf(options),
      ...(target === undefined ? {} : { target }),
      ...(stage === undefined ? {} : { stage }),
      ...(name === undefined ? {} : { name }),
      ...(template === undefined ? {} : { template }),
      ...(adapter === undefined ? {} : { adapter: resolve(adapter) }),
    },
    callsIo(context, options),
  );
  if (outcome.kind === 'tuned') return tunedResult(outcome.folder, outcome.file);
  throw new FloodgateError(
    'run',
    `tune ${folder.name}: none of ${outcome.tried} attacks of ${outcome.stage} succeeded, so there is nothing to learn; the run is unchanged`,
    {
      hint: 'no success is no proof of safety: --stage names another attacker, --set tuning.minUnsafe=0.3 lowers the bar, and a longer run finds more',
    },
  );
}

/** Adds `floodgate tune`. */
export function registerTuneCommand(program: Command, context: CliContext): void {
  const command = program.command('tune').description(COMMAND_WORDS.tune);
  addCallOptions(addSetOption(addRunsOption(command)))
    .argument('<run>', 'name or path of the run')
    .option('--target <model>', "model to tune (default: the run's own target)")
    .option('--stage <name>', 'attacker whose successes are used (default: the one evaluated last)')
    .option('--name <name>', 'folder below RUN/tuned (default: the stage)')
    .addOption(
      new Option('--template <kind>', 'how the model is asked (default: its chat template)').choices(['chat', 'plain']),
    )
    .option('--templates <file>', 'refusals to use, one a line')
    .option('--benign <file>', 'benign prompts, JSONL with a "prompt" each')
    .option('--adapter <folder>', 'PEFT adapter to start from')
    .addHelpText('after', EXAMPLES)
    .action(async (run: string, options: TuneOptions) => printResult(context, await runTune(run, options, context)));
}
