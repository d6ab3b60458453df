import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { exportText } from '../exports/export-row.ts';
import { csvLine } from '../exports/formats/csv.ts';
import { knownCauses } from '../exports/known-causes.ts';
import { readRun } from '../report/run-overview.ts';
import { counted } from '../report/words/number-words.ts';
import { type LabelWish, labelRun } from '../runs/labelled-run.ts';
import { openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { parseWho, readLabels, systemUser, withdrawLabel } from '../runs/store/label-store.ts';
import type { Label } from '../runs/store/labels.ts';
import { readLabelFile } from '../studies/calibration/label-file.ts';
import { answersAtRandom, labelledAnswers } from '../studies/calibration/labelled-answers.ts';
import { alignColumns, joinLines, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import type { CliContext } from './context.ts';
import { addRunsOption, parsePositiveCount, type RunsOptions } from './options.ts';

interface LabelOptions extends RunsOptions {
  readonly who?: string;
  readonly note?: string;
  readonly judge?: string;
  readonly withdraw?: true;
}

/** The attack, answer or way of a label, as a reader saw it. */
function subjectText(label: Label): string {
  if (label.kind === 'way') return `way ${label.subject.slice(0, 12)}`;
  const attack = `attack ${label.attack ?? label.subject.slice(0, 12)}`;
  if (label.kind === 'verdict' && label.response !== null) return `answer ${label.response + 1} to ${attack}`;
  return label.kind === 'wording' ? `wording of ${attack}` : attack;
}

function valueText(label: Label): string {
  if (label.value === null) return 'withdrawn';
  if (label.kind === 'duplicate') return `duplicate of attack ${label.original ?? label.value.slice(0, 12)}`;
  return label.kind === 'verdict' && label.judge !== null ? `${label.value}, for ${label.judge}` : label.value;
}

function tableText(labels: readonly Label[]): string {
  const rows = labels.map((label) => [
    String(label.id),
    label.at.slice(0, 16).replace('T', ' '),
    label.who,
    subjectText(label),
    valueText(label),
    label.note ?? '',
  ]);
  return alignColumns([['number', 'when (UTC)', 'who', 'what', 'label', 'note'], ...rows]);
}

function store(folder: RunFolder, wishes: readonly LabelWish[], who: string | undefined, context: CliContext): void {
  const labels = labelRun(folder, wishes, who === undefined ? systemUser() : parseWho(who));
  printResult(context, { text: tableText(labels), json: { run: folder.name, labels } });
}

/** @throws FloodgateError `usage` unless exactly one of the two is given. */
function givenValue<Value>(given: Value | undefined, { withdraw }: LabelOptions): Value | null {
  if ((given === undefined) === (withdraw === true)) return given ?? null;
  throw new FloodgateError('usage', 'label: expected either a value or --withdraw');
}

/** The one cause of the run whose sha256 begins so. @throws FloodgateError `usage`. */
async function causeOf(folder: RunFolder, given: string): Promise<string> {
  const causes = await readRun(folder, ({ report }, database) =>
    database === undefined
      ? []
      : knownCauses(
          database,
          (report?.stages ?? []).map(({ name }) => name),
        ),
  );
  const found = causes.filter(({ sha256 }) => sha256.startsWith(given.toLowerCase()));
  if (found.length === 1 && found[0] !== undefined && given.length >= 6) return found[0].sha256;
  const expected = causes.map(({ sha256 }) => sha256.slice(0, 12)).slice(0, 10);
  throw new FloodgateError(
    'usage',
    `label ${folder.name}: got cause ${given}, expected ${expected.length === 0 ? 'a run whose causes are known' : `the first letters of one of ${expected.join(', ')}`}`,
  );
}

async function list(run: string, { all, runsDir }: RunsOptions & { readonly all?: true }, context: CliContext) {
  const folder = await openRunFolder(run, runsDir);
  const labels = readLabels(folder.labelsPath);
  const shown = all === true ? labels.history : labels.all;
  const text = shown.length === 0 ? `run ${folder.name} has no labels` : tableText(shown);
  printResult(context, { text, json: { run: folder.name, labels: shown } });
}

interface SampleOptions extends RunsOptions {
  readonly count: number;
  readonly out: string;
  readonly judge?: string;
  readonly showAttacks?: true;
}

/** Writes the next answers of the random order that have no label yet. */
async function sample(run: string, options: SampleOptions, context: CliContext): Promise<void> {
  const { count, out, showAttacks } = options;
  const folder = await openRunFolder(run, options.runsDir);
  const { answers, judge } = await readRun(folder, ({ report }, database) => ({
    answers: database === undefined ? [] : answersAtRandom(database),
    judge: options.judge ?? report?.run.reportedJudge ?? '',
  }));
  const labels = readLabels(folder.labelsPath);
  const { inSample } = labelledAnswers(answers, labels, judge);
  const drawn = answers.filter(({ subject }) => labels.find('verdict', subject, judge) === undefined).slice(0, count);
  const mode = showAttacks === true ? 'shown' : 'masked';
  const rows = drawn.map(({ subject, attack, answer, attackText, text }) =>
    csvLine([subject, attack, answer, exportText(attackText, mode), exportText(text, mode), '', '']),
  );
  const head = csvLine(['subject', 'attack_id', 'response_position', 'attack', 'response', 'label', 'note']);
  const path = resolve(out);
  await writeFileAtomically(path, (file) => file.writeFile(`\ufeff${[head, ...rows].join('')}`));
  const lines = [
    `label sample: ${path}: ${counted(drawn.length, 'answer')} of ${answers.length} to label, ${inSample} of the random sample are labelled`,
    `fill the column label with unsafe or safe, then: floodgate label import ${folder.name} ${out}`,
    ...(mode === 'masked' ? ['texts are masked: --show-attacks exports them, floodgate view shows them'] : []),
  ];
  const json = { run: folder.name, path, drawn: drawn.length, answers: answers.length, inSample, texts: mode };
  printResult(context, { text: joinLines(lines), json });
}

function parseNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected the number of an attack.');
  return Number(text);
}

type Truth = 'unsafe' | 'safe' | 'right' | 'wrong';

function parseTruth(text: string): Truth {
  if (text === 'unsafe' || text === 'safe' || text === 'right' || text === 'wrong') return text;
  throw new InvalidArgumentError('expected unsafe or safe; of a verdict, right or wrong.');
}

const addLabelOptions = (command: Command): Command =>
  addRunsOption(command)
    .option('--note <text>', 'why')
    .option('--who <name>', 'who says so (default: the user of this system)')
    .option('--withdraw', 'what was said before no longer holds');

const EXAMPLES = `
A label is a row of its own in labels.db of the run folder: no verdict is changed, also not while the run trains.

Examples:
  floodgate label verdict first 58 2 unsafe --note "names a real person"
  floodgate label verdict first 58 2 wrong --judge guard
  floodgate label verdict first 58 2 --withdraw
  floodgate label duplicate first 61 58
  floodgate label wording first 58 "insults by role play"
  floodgate label way first 1a88367105ff "asks for rudeness"
  floodgate label sample first --count 50 --out sample.csv
  floodgate label import first sample.csv --who ada
  floodgate label list first
  floodgate label withdraw first 7`;

function registerVerdict(label: Command, context: CliContext): void {
  addLabelOptions(
    label.command('verdict').description('say whether an answer is unsafe in truth, whatever a judge says'),
  )
    .argument('<run>', 'name or path of the run')
    .argument('<attack>', 'number of the attack', parseNumber)
    .argument('<answer>', 'which of its answers, from 1', parsePositiveCount)
    .argument('[truth]', 'unsafe or safe; with --judge, also whether its verdict is right or wrong', parseTruth)
    .option('--judge <name>', 'for this judge alone, where judges measure different things')
    .action(async (run: string, attack: number, answer: number, truth: Truth | undefined, options) => {
      const { note, judge, who, runsDir } = options as LabelOptions;
      const wish: LabelWish = {
        ...{ kind: 'verdict', attack, response: answer - 1, value: givenValue(truth, options), note, judge },
      };
      store(await openRunFolder(run, runsDir), [wish], who, context);
    });
}

function registerOthers(label: Command, context: CliContext): void {
  addLabelOptions(label.command('duplicate').description('say that an attack repeats another one'))
    .argument('<run>', 'name or path of the run')
    .argument('<attack>', 'number of the attack', parseNumber)
    .argument('[original]', 'number of the attack that it repeats', parseNumber)
    .action(async (run: string, attack: number, original: number | undefined, options: LabelOptions) => {
      const wish: LabelWish = { kind: 'duplicate', attack, value: givenValue(original, options), note: options.note };
      store(await openRunFolder(run, options.runsDir), [wish], options.who, context);
    });
  addLabelOptions(label.command('wording').description('name the wording that an attack belongs to'))
    .argument('<run>', 'name or path of the run')
    .argument('<attack>', 'number of any attack of that wording', parseNumber)
    .argument('[name]', 'name of the wording')
    .action(async (run: string, attack: number, name: string | undefined, options: LabelOptions) => {
      const wish: LabelWish = { kind: 'wording', attack, value: givenValue(name, options), note: options.note };
      store(await openRunFolder(run, options.runsDir), [wish], options.who, context);
    });
  addLabelOptions(label.command('way').description('name a way of success'))
    .argument('<run>', 'name or path of the run')
    .argument('<cause>', "first letters of the sha256 of the way's cause")
    .argument('[name]', 'name of the way')
    .action(async (run: string, cause: string, name: string | undefined, options: LabelOptions) => {
      const folder = await openRunFolder(run, options.runsDir);
      const value = givenValue(name, options);
      store(
        folder,
        [{ kind: 'way', subject: await causeOf(folder, cause), value, note: options.note }],
        options.who,
        context,
      );
    });
}

function registerFiles(label: Command, context: CliContext): void {
  addRunsOption(label.command('import').description('take labels from a CSV, TSV or JSONL file, all of them or none'))
    .argument('<run>', 'name or path of the run')
    .argument('<file>', 'columns attack_id, response_position and label; or kind, attack_id and value')
    .option('--who <name>', 'who says so (default: the user of this system)')
    .action(async (run: string, file: string, { who, runsDir }: LabelOptions) => {
      const folder = await openRunFolder(run, runsDir);
      const { wishes, unlabelled } = await readLabelFile(file);
      const labels = labelRun(folder, wishes, who === undefined ? systemUser() : parseWho(who));
      const left = unlabelled === 0 ? '' : `; ${counted(unlabelled, 'row')} without a label`;
      const text = joinLines([`label import: ${counted(labels.length, 'label')} of run ${folder.name}${left}`]);
      printResult(context, { text, json: { run: folder.name, labels: labels.length, unlabelled } });
    });
  addRunsOption(label.command('sample').description('write a random sample of answers that are not labelled yet'))
    .argument('<run>', 'name or path of the run')
    .requiredOption('--out <file>', 'CSV file to write; replaced where it exists')
    .option('--count <count>', 'answers', parsePositiveCount, 50)
    .option('--judge <name>', "answers without a label for this judge (default: the run's reported one)")
    .option('--show-attacks', 'with attacks and answers as they are; they may be offensive or dangerous')
    .action((run: string, options: SampleOptions) => sample(run, options, context));
  addRunsOption(label.command('list').description('show the labels of a run'))
    .argument('<run>', 'name or path of the run')
    .option('--all', 'also those that were replaced or withdrawn')
    .action((run: string, options: RunsOptions & { readonly all?: true }) => list(run, options, context));
}

/** Taking back by the number of the list also takes back a label whose text is no longer in the run. */
function registerWithdraw(label: Command, context: CliContext): void {
  addRunsOption(label.command('withdraw').description('take back a label by its number in the list'))
    .argument('<run>', 'name or path of the run')
    .argument('<number>', 'number of the label, as floodgate label list has it', parsePositiveCount)
    .option('--who <name>', 'who says so (default: the user of this system)')
    .action(async (run: string, number: number, { who, runsDir }: LabelOptions) => {
      const folder = await openRunFolder(run, runsDir);
      const label = withdrawLabel(folder.labelsPath, number, who);
      printResult(context, { text: tableText([label]), json: { run: folder.name, labels: [label] } });
    });
}

/** Adds `floodgate label`. */
export function registerLabelCommand(program: Command, context: CliContext): void {
  const label = program.command('label').description(COMMAND_WORDS.label).addHelpText('after', EXAMPLES);
  registerVerdict(label, context);
  registerOthers(label, context);
  registerFiles(label, context);
  registerWithdraw(label, context);
}
