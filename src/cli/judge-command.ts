import { stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { SUCCESS_THRESHOLD } from '../learning/reward/reward.ts';
import { calibrateScores, type JudgeCalibration, type ThresholdRule } from '../metrics/judge-calibration.ts';
import { readRun } from '../report/run-overview.ts';
import { openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { readLabels } from '../runs/store/label-store.ts';
import { loadConfig, loadRunConfig } from '../stages/campaign/config-load.ts';
import type { Config } from '../stages/config/config.ts';
import { correctedRates } from '../studies/calibration/corrected-rates.ts';
import { keepErrors } from '../studies/calibration/kept-errors.ts';
import { answersAtRandom, asExamples, labelledAnswers } from '../studies/calibration/labelled-answers.ts';
import {
  LABELLED_EXTENSIONS,
  type LabelledFile,
  readLabelledExamples,
} from '../studies/calibration/labelled-examples.ts';
import { type ScoredExamples, scoreWithConfig, statedScores } from '../studies/calibration/score-examples.ts';
import { type CommandResult, printableLines, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { registerAgreeCommand } from './judge-agree-command.ts';
import { type CalibrationResult, calibrationText } from './judge-text.ts';
import { addRunsOption, type RunsOptions } from './options.ts';

interface CalibrateOptions extends RunsOptions {
  readonly config?: string;
  readonly run?: string;
  readonly judge?: string;
  readonly rule: ThresholdRule;
  readonly keep?: true;
}

function parseRule(text: string): ThresholdRule {
  if (text === 'youden') return { kind: 'youden' };
  const least = Number(/^specificity=(0?\.\d+|1(?:\.0+)?|0)$/.exec(text)?.[1] ?? Number.NaN);
  if (Number.isFinite(least)) return { kind: 'specificity', least };
  throw new InvalidArgumentError('expected youden or specificity=SHARE, such as specificity=0.95.');
}

/** The judge whose figures a run reports. @throws FloodgateError `run` for a run that has measured nothing. */
async function reportedJudge(folder: RunFolder): Promise<string> {
  const name = await readRun(folder, ({ report }) => report?.run.reportedJudge);
  if (name !== undefined) return name;
  throw new FloodgateError('run', `judge calibrate: run ${folder.name} has measured nothing yet`);
}

/** A file of labelled examples, or a run with labels. */
async function isRunName(given: string): Promise<boolean> {
  if (LABELLED_EXTENSIONS.includes(extname(given).toLowerCase())) return false;
  const found = await stat(given).catch(() => undefined);
  return found?.isFile() !== true;
}

interface ReadLabels {
  readonly file: LabelledFile;
  readonly judge: string;
  readonly counts: NonNullable<CalibrationResult['labels']>;
}

/** The labels of a run for one judge. @throws FloodgateError `usage` where it has none. */
async function labelsOfRun(folder: RunFolder, judge: string): Promise<ReadLabels> {
  return readRun(folder, (_, store) => {
    const answers = store === undefined ? [] : answersAtRandom(store);
    const found = labelledAnswers(answers, readLabels(folder.labelsPath), judge);
    if (found.labelled.length === 0)
      throw new FloodgateError('usage', `judge calibrate: run ${folder.name} has no labelled answer for ${judge}`, {
        hint: `floodgate label sample ${folder.name} draws answers to label`,
      });
    const counts = { answers: answers.length, labelled: found.labelled.length, inSample: found.inSample };
    return { file: asExamples(found, folder.name, judge), judge, counts };
  });
}

/** The config whose judge scores the examples; undefined where the file's own scores are read. */
async function scoringConfig(
  file: LabelledFile,
  { config }: CalibrateOptions,
  folder: RunFolder | undefined,
): Promise<Config | undefined> {
  if (config !== undefined) return loadConfig(config);
  if (file.hasScores) return undefined;
  if (folder !== undefined) return loadRunConfig(folder);
  throw new FloodgateError('usage', `judge calibrate: ${file.path} has no column score, so a judge is needed`, {
    hint: '--config FILE or --run RUN names one',
  });
}

async function scored(
  file: LabelledFile,
  options: CalibrateOptions,
  { folder, context }: { readonly folder: RunFolder | undefined; readonly context: CliContext },
): Promise<ScoredExamples & { readonly judge: string | undefined; readonly scoredBy: CalibrationResult['scoredBy'] }> {
  const config = await scoringConfig(file, options, folder);
  const judge = options.judge ?? (folder === undefined ? undefined : await reportedJudge(folder));
  if (config === undefined) return { ...statedScores(file), judge, scoredBy: 'file' };
  return { ...(await scoreWithConfig(config, file, { judge, io: ioOf(context) })), scoredBy: 'judge' };
}

async function correctRun(folder: RunFolder, judge: string, { asRun, chosen }: JudgeCalibration) {
  const attackers = await readRun(folder, (_, store) =>
    store === undefined ? [] : correctedRates(store, { run: folder.name, judge, asRun, chosen }),
  );
  return { run: folder.name, attackers };
}

/** The examples, and the run whose rates are corrected by them: a run with labels is that run itself. */
async function readExamples(given: string, options: CalibrateOptions) {
  const openRun = (name: string) => openRunFolder(name, options.runsDir);
  const named = options.run === undefined ? undefined : await openRun(options.run);
  if (!(await isRunName(given))) return { file: await readLabelledExamples(given), folder: named, labels: null };
  const labelled = await openRun(given);
  const judge = options.judge ?? (await reportedJudge(labelled));
  const { file, counts } = await labelsOfRun(labelled, judge);
  return { file, folder: named ?? labelled, labels: counts, judge };
}

async function calibrate(given: string, options: CalibrateOptions, context: CliContext): Promise<CommandResult> {
  const { rule, keep } = options;
  if (keep !== undefined && options.run === undefined && !(await isRunName(given)))
    throw new FloodgateError('usage', 'judge calibrate: --keep: no run to keep the errors with', {
      hint: '--run RUN names one',
    });
  const { file, folder, labels, judge: labelledFor } = await readExamples(given, options);
  const named = labelledFor === undefined ? options : { ...options, judge: labelledFor };
  const { scores, unscored, judge, scoredBy } = await scored(file, named, { folder, context });
  const { path } = file;
  const unsafe = scores.filter(({ isUnsafe }) => isUnsafe).length;
  if (unsafe === 0 || unsafe === scores.length) {
    const got = `${unsafe} unsafe and ${scores.length - unsafe} safe examples with a score (${unscored} without)`;
    throw new FloodgateError('config', `labelled examples ${path}: got ${got}, expected both`);
  }
  const calibration = calibrateScores(scores, { rule, threshold: SUCCESS_THRESHOLD });
  const result: CalibrationResult = {
    file: { path, sha256: file.sha256, unlabelled: file.unlabelled },
    judge: judge ?? null,
    scoredBy: labels !== null && scoredBy === 'file' ? 'run' : scoredBy,
    labels,
    unscored,
    rule,
    calibration,
    run: folder === undefined || judge === undefined ? null : await correctRun(folder, judge, calibration),
  };
  if (keep !== undefined && folder !== undefined && judge !== undefined)
    await keepErrors(folder, { judge, quality: calibration.asRun, examplesSha256: file.sha256 });
  return { text: printableLines(calibrationText(result)), json: result };
}

/** Adds `floodgate judge calibrate` and `floodgate judge agree`. */
export function registerJudgeCommand(program: Command, context: CliContext): void {
  const judge = program.command('judge').description(COMMAND_WORDS.judge);
  addRunsOption(
    judge
      .command('calibrate')
      .description('measure a judge on labelled examples, and correct the success rates of a run for its errors')
      .argument(
        '<file>',
        'CSV, TSV or JSONL with the columns attack, response and label, or score and label; or a run with labels',
      ),
  )
    .option('--config <file>', 'a judge of this config scores the examples, whatever scores the file states')
    .option('--run <run>', "show this run's success rates corrected; its judge scores where the file has no scores")
    .option(
      '--judge <name>',
      "name or kind of the judge (default: the run's reported one, or the first evaluation judge)",
    )
    .option('--keep', "keep the judge's errors with the run: its report and show then correct the share of this judge")
    .option('--rule <rule>', 'rule of the threshold: youden, or specificity=SHARE', parseRule, { kind: 'youden' })
    .addHelpText(
      'after',
      `
Examples:
  floodgate judge calibrate labelled.csv --config floodgate.yaml --judge profanity
  floodgate judge calibrate labelled.jsonl --run first --rule specificity=0.95
  floodgate judge calibrate scored.csv --json
  floodgate judge calibrate first --keep`,
    )
    .action(async (file: string, options: CalibrateOptions) =>
      printResult(context, await calibrate(file, options, context)),
    );
  registerAgreeCommand(judge, context);
}
