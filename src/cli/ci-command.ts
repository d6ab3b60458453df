import { mkdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { Command } from 'commander';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { exportRun } from '../exports/export-run.ts';
import { type ReportedRun, resumeCampaign, runCampaign, writeRunReport } from '../report/campaigns.ts';
import { compareRuns } from '../report/compare/compare-runs.ts';
import { baselineOf, readBaseline, writeBaseline } from '../report/gate/baseline-file.ts';
import { checkGate, type GateResult, type GateState } from '../report/gate/gate.ts';
import { CHECK_HEADINGS, checkCells, gateMarkdown } from '../report/gate/gate-summary.ts';
import { readRun } from '../report/run-overview.ts';
import { counted, measureText } from '../report/words/number-words.ts';
import { openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { loadConfig, loadRunConfig } from '../stages/campaign/config-load.ts';
import type { GateLimits } from '../stages/config/gate-section.ts';
import { causeSha256, storedCauses, type WayRecord } from '../stages/evaluation/causes-record.ts';
import { BudgetSpent } from '../trial/budget-spent.ts';
import { alignColumns, joinLines, printResult, shellWord } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, callsIo, ioOf } from './context.ts';
import {
  addCallOptions,
  addRunsOption,
  addSetOption,
  type CallOptions,
  type RunsOptions,
  type SetOptions,
} from './options.ts';
import { runRequest } from './run-command.ts';
import { announceResume, announceRun } from './start-line.ts';

interface CiOptions extends RunsOptions, SetOptions, CallOptions {
  readonly baseline?: string;
  readonly saveBaseline?: string;
  readonly run?: string;
  readonly name?: string;
  readonly out?: string;
}

/** Exit codes beside 0 and those of every command. */
const EXIT_CODES: Readonly<Record<GateState, number>> = { passed: 0, exceeded: 100, undecided: 101 };

/** A baseline that is the folder of a run: its attacks can be sent again, where any succeeded. */
type BaselineRun = { readonly kind: 'run'; readonly folder: RunFolder; readonly hasSuccesses: boolean };
type KnownBaseline = BaselineRun | { readonly kind: 'file'; readonly path: string };

/** False only of a run that measured its attackers, and found that no attack succeeded. */
async function hasSuccesses(folder: RunFolder): Promise<boolean> {
  return readRun(folder, ({ report }) => {
    const rates = (report?.stages ?? []).flatMap(({ metrics: { asr } }) => (asr === undefined ? [] : [asr.value]));
    return rates.length === 0 || rates.some((value) => value !== 0);
  });
}

async function findBaseline({ baseline, runsDir }: CiOptions): Promise<KnownBaseline | undefined> {
  if (baseline === undefined) return undefined;
  const isFile = await stat(baseline).then(
    (entry) => entry.isFile(),
    () => false,
  );
  if (!isFile) {
    const folder = await openRunFolder(baseline, runsDir);
    return { kind: 'run', folder, hasSuccesses: await hasSuccesses(folder) };
  }
  await readBaseline(baseline); // refused before anything is asked
  return { kind: 'file', path: baseline };
}

/** @throws FloodgateError `config` where no limit is set, or one needs a baseline that was not given. */
function checkLimits(limits: GateLimits, baseline: KnownBaseline | undefined, file: string): void {
  if (Object.keys(limits).length === 0) {
    throw new FloodgateError('config', `ci ${file}: gate sets no limit`, {
      hint: 'set one in the config, such as gate: { successRate: 0.05 }, or by --set gate.successRate=0.05',
    });
  }
  if (limits.newWays !== undefined && baseline === undefined)
    throw new FloodgateError('config', 'ci: gate.newWays needs a baseline, got none', { hint: 'add --baseline RUN' });
  if (limits.replayed !== undefined && baseline?.kind !== 'run')
    throw new FloodgateError('config', 'ci: gate.replayed needs the attacks of a run, got no run as baseline', {
      hint: 'add --baseline RUN: a baseline file holds no attacks',
    });
}

/** With a run as baseline, its successes are sent again first. */
function replayOverrides(attackers: readonly string[], baseline: KnownBaseline | undefined): string[] {
  if (baseline?.kind !== 'run' || !baseline.hasSuccesses) return [];
  const all = attackers.includes('replay') ? attackers : ['replay', ...attackers];
  return [`attackers=${JSON.stringify(all)}`, `replay.from=${JSON.stringify(baseline.folder.path)}`];
}

/** The run that is judged: whole, or ended when its budget was spent. */
interface JudgedRun extends ReportedRun {
  readonly spent?: BudgetSpent;
}

/** `work` on a run; a budget that is spent leaves what was measured until then. Ctrl-C is not caught. */
async function untilSpent(
  work: () => Promise<ReportedRun>,
  folderOf: () => RunFolder | undefined,
  context: CliContext,
): Promise<JudgedRun> {
  try {
    return await work();
  } catch (error) {
    const folder = folderOf();
    if (!(error instanceof BudgetSpent) || folder === undefined) throw error;
    return { ...(await writeRunReport(folder, ioOf(context))), spent: error };
  }
}

async function makeRun(
  file: string,
  options: CiOptions,
  baseline: KnownBaseline | undefined,
  context: CliContext,
): Promise<JudgedRun> {
  const io = callsIo(context, options);
  if (options.run !== undefined) {
    const folder = await openRunFolder(options.run, options.runsDir);
    if ((await readRun(folder, ({ status }) => status)) === 'done') return writeRunReport(folder, ioOf(context));
    await announceResume(folder, options.runsDir, context);
    return untilSpent(
      () => resumeCampaign(folder, io),
      () => folder,
      context,
    );
  }
  const { attackers } = await loadConfig(file, options.set);
  const request = await runRequest(file, {
    ...options,
    set: [...options.set, ...replayOverrides(attackers, baseline)],
  });
  const named = { ...request, name: options.name ?? `${basename(file, extname(file))}-ci` };
  const announced = await announceRun(named, context);
  let made: RunFolder | undefined;
  const created = (folder: RunFolder): void => {
    made = folder;
    announced.created?.(folder);
  };
  return untilSpent(
    () => runCampaign({ ...announced, created }, io),
    () => made,
    context,
  );
}

interface FoundWays {
  readonly ways: readonly WayRecord[];
  /** Every success has a known cause, or did not succeed again. */
  readonly isWhole: boolean;
}

function waysOf(folder: RunFolder): Promise<FoundWays> {
  return readRun(folder, ({ report }, store) => {
    if (report === undefined || store === undefined) return { ways: [], isWhole: false };
    const found = report.stages.map(({ name, metrics: { asr } }) => ({ asr, causes: storedCauses(store, name) }));
    const isKnown = ({ asr, causes }: (typeof found)[number]): boolean =>
      causes === undefined ? asr === undefined || asr.value === 0 : causes.unknown === 0;
    return { ways: found.flatMap(({ causes }) => causes?.ways ?? []), isWhole: found.every(isKnown) };
  });
}

const OPEN_WAYS =
  'Some successes have no known cause, so more ways may be new: evaluation.causes.clusters says how many are searched.';

/** Ways of the run that the baseline does not have, and lines about the baseline. */
async function againstBaseline({ folder, report }: ReportedRun, baseline: KnownBaseline | undefined) {
  if (baseline === undefined || report.stages.length === 0) return { newWays: undefined, notes: [] };
  const { ways: found, isWhole } = await waysOf(folder);
  const openNotes = isWhole ? [] : [OPEN_WAYS];
  if (baseline.kind === 'run') {
    const { ways, shared } = await compareRuns([baseline.folder, folder]);
    const count = (state: string): number => ways.filter((way) => way.state === state).length;
    const paired =
      shared === undefined || shared.difference.n === 0
        ? []
        : [
            `${counted(shared.difference.n, 'attack')} asked in both: a difference of ${measureText(shared.difference)}.`,
          ];
    const states = `${count('new')} new, ${count('open')} still open, ${count('closed')} closed, ${count('unseen')} not asked`;
    const notes = [`Ways against run ${baseline.folder.name}: ${states}.`, ...paired, ...openNotes];
    return { newWays: { count: count('new'), isWhole }, notes };
  }
  const known = await readBaseline(baseline.path);
  const hashes = [...new Set(found.map(({ cause }) => causeSha256(cause)))];
  const isNew = hashes.filter((hash) => !known.ways.includes(hash)).length;
  const gone = known.ways.filter((hash) => !hashes.includes(hash)).length;
  const states = `${isNew} new, ${hashes.length - isNew} still open, ${gone} not found again`;
  const notes = [`Ways against the baseline of run ${known.run}: ${states}.`, ...openNotes];
  return { newWays: { count: isNew, isWhole }, notes };
}

/** Other tools' formats of the ways that were found, beside the summary; both without texts. */
const EXPORTS = { junit: 'junit.xml', sarif: 'results.sarif' } as const;

async function writeExports(out: string, folder: RunFolder, config: string, context: CliContext): Promise<void> {
  for (const [format, file] of Object.entries(EXPORTS)) {
    const destination = { kind: 'path', path: join(out, file), isReplaced: true } as const;
    await exportRun(folder, { format, destination, texts: 'masked', config }, ioOf(context));
  }
}

async function writeResult(out: string, run: string, result: GateResult, notes: readonly string[]): Promise<string> {
  await mkdir(out, { recursive: true });
  const summary = join(out, 'summary.md');
  await writeFileAtomically(summary, (file) => file.writeFile(gateMarkdown(run, result, notes)));
  await writeFileAtomically(join(out, 'gate.json'), (file) =>
    file.writeFile(`${JSON.stringify({ run, ...result, notes }, null, 2)}\n`),
  );
  return summary;
}

/** Writes the baseline that was asked for, and returns a line about ways that it lacks. */
async function saveBaseline({ folder, report }: ReportedRun, { saveBaseline: path }: CiOptions): Promise<string[]> {
  if (path === undefined) return [];
  const { ways, isWhole } = await waysOf(folder);
  await writeBaseline(path, baselineOf(report, ways));
  return isWhole ? [] : [`${path} lacks the ways of successes without a known cause: a later run may call them new.`];
}

/** How a run ended that did not reach its end, and the command that continues it and judges it again. */
function stopNotes({ folder, spent }: JudgedRun, { saveBaseline }: CiOptions, context: CliContext): string[] {
  if (spent === undefined) return [];
  const command = `${context.commandLine} --run ${shellWord(folder.name)} ${spent.option}`;
  return [
    `Stopped: ${spent.message}.`,
    `Continue: ${command}`,
    ...(saveBaseline === undefined ? [] : ['No baseline is written: the run is not finished.']),
  ];
}

/** The limits that can be checked: of a baseline without a success, none can succeed again. */
function checkableLimits({ replayed, ...limits }: GateLimits, baseline: KnownBaseline | undefined) {
  const isEmpty = baseline?.kind === 'run' && !baseline.hasSuccesses;
  if (replayed === undefined || !isEmpty)
    return { limits: replayed === undefined ? limits : { ...limits, replayed }, notes: [] };
  const note = `Nothing was sent again: no attack of run ${baseline.folder.name} succeeded, so gate.replayed holds.`;
  return { limits, notes: [note] };
}

async function gate(file: string, options: CiOptions, context: CliContext): Promise<void> {
  const { gate: wished } = await loadConfig(file, options.set);
  const baseline = await findBaseline(options);
  checkLimits(wished, baseline, file);
  const { limits, notes: emptyNotes } = checkableLimits(wished, baseline);
  const run = await makeRun(file, options, baseline, context);
  const { folder, report, pagePath, spent } = run;
  const against = await againstBaseline(run, baseline);
  const wanted = spent === undefined ? undefined : (await loadRunConfig(folder)).attackers;
  const result = checkGate(report, limits, against.newWays, wanted);
  const saved = spent === undefined ? await saveBaseline(run, options) : [];
  const notes = [...against.notes, ...emptyNotes, ...saved, ...stopNotes(run, options, context)];
  const out = options.out ?? join(folder.path, 'ci');
  const summary = await writeResult(out, folder.name, result, notes);
  await writeExports(out, folder, file, context);
  const lines = [
    ...notes,
    `Summary: ${summary}`,
    `Report to read in a browser: ${pagePath}`,
    `${result.state} (exit code ${EXIT_CODES[result.state]})`,
  ];
  const table = alignColumns([CHECK_HEADINGS, ...result.checks.map(checkCells)]);
  printResult(context, { text: `${table}\n${joinLines(lines)}`, json: { run: folder.name, ...result, notes, out } });
  context.exitWith(EXIT_CODES[result.state]);
}

/** Adds `floodgate ci`. */
export function registerCiCommand(program: Command, context: CliContext): void {
  const command = program.command('ci').description(COMMAND_WORDS.ci);
  addCallOptions(addSetOption(addRunsOption(command)))
    .argument('<config>', 'config file with limits under gate')
    .option('--baseline <run or file>', 'a run whose successes are sent again first, or a file of --save-baseline')
    .option('--save-baseline <file>', "write this run's figures and hashes of its ways, without texts, to commit")
    .option('--run <name>', 'judge this run; it is continued where it is not finished')
    .option('--name <name>', 'name of the new run (default: the config file name and -ci, numbered when taken)')
    .option('--out <folder>', "where the results go (default: ci in the run's folder)")
    .addHelpText(
      'after',
      `
Exit codes: 0 every figure is within its limit, 100 one is above, 101 undecided (also when the budget ends the run),
1 failure, 2 bad usage, 130 interrupted.

Examples:
  floodgate ci floodgate.yaml --set gate.successRate=0.05 --budget targetCalls=2000
  floodgate ci floodgate.yaml --baseline run:last-release --out ci-results
  floodgate ci floodgate.yaml --baseline baseline.json --save-baseline baseline.json`,
    )
    .action((file: string, options: CiOptions) => gate(file, options, context));
}
