import { mkdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { Command } from 'commander';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { exportRun } from '../exports/export-run.ts';
import { resumeCampaign, runCampaign } from '../report/campaigns.ts';
import { compareRuns } from '../report/compare/compare-runs.ts';
import { baselineOf, readBaseline, writeBaseline } from '../report/gate/baseline-file.ts';
import { checkGate, type GateResult, type GateState } from '../report/gate/gate.ts';
import { CHECK_HEADINGS, checkCells, gateMarkdown } from '../report/gate/gate-summary.ts';
import { readRun } from '../report/run-overview.ts';
import { counted, measureText } from '../report/words/number-words.ts';
import { openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { loadConfig } from '../stages/campaign/config-load.ts';
import type { GateLimits } from '../stages/config/gate-section.ts';
import { causeSha256, storedCauses, type WayRecord } from '../stages/evaluation/causes-record.ts';
import { alignColumns, joinLines, printResult } from './command-output.ts';
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

/** A baseline that is the folder of a run: its attacks can be sent again. */
type BaselineRun = { readonly kind: 'run'; readonly folder: RunFolder };
type KnownBaseline = BaselineRun | { readonly kind: 'file'; readonly path: string };

async function findBaseline({ baseline, runsDir }: CiOptions): Promise<KnownBaseline | undefined> {
  if (baseline === undefined) return undefined;
  const isFile = await stat(baseline).then(
    (entry) => entry.isFile(),
    () => false,
  );
  if (!isFile) return { kind: 'run', folder: await openRunFolder(baseline, runsDir) };
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
  if (baseline?.kind !== 'run') return [];
  const all = attackers.includes('replay') ? attackers : ['replay', ...attackers];
  return [`attackers=${JSON.stringify(all)}`, `replay.from=${JSON.stringify(baseline.folder.path)}`];
}

async function makeRun(file: string, options: CiOptions, baseline: KnownBaseline | undefined, context: CliContext) {
  const io = callsIo(context, options);
  if (options.run !== undefined) {
    const folder = await openRunFolder(options.run, options.runsDir);
    await announceResume(folder, options.runsDir, context);
    return resumeCampaign(folder, io);
  }
  const { attackers } = await loadConfig(file, options.set);
  const request = await runRequest(file, {
    ...options,
    set: [...options.set, ...replayOverrides(attackers, baseline)],
  });
  const named = { ...request, name: options.name ?? `${basename(file, extname(file))}-ci` };
  return runCampaign(await announceRun(named, context), io);
}

function waysOf(folder: RunFolder): Promise<readonly WayRecord[]> {
  return readRun(folder, ({ report }, store) => {
    if (report === undefined || store === undefined) return [];
    return report.stages.flatMap(({ name }) => storedCauses(store, name)?.ways ?? []);
  });
}

/** Ways of the run that the baseline does not have, and a line about the baseline. */
async function againstBaseline(folder: RunFolder, baseline: KnownBaseline | undefined) {
  if (baseline === undefined) return { newWays: undefined, notes: [] };
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
    return { newWays: count('new'), notes: [`Ways against run ${baseline.folder.name}: ${states}.`, ...paired] };
  }
  const known = await readBaseline(baseline.path);
  const hashes = [...new Set((await waysOf(folder)).map(({ cause }) => causeSha256(cause)))];
  const isNew = hashes.filter((hash) => !known.ways.includes(hash)).length;
  const gone = known.ways.filter((hash) => !hashes.includes(hash)).length;
  const states = `${isNew} new, ${hashes.length - isNew} still open, ${gone} not found again`;
  return { newWays: isNew, notes: [`Ways against the baseline of run ${known.run}: ${states}.`] };
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

async function gate(file: string, options: CiOptions, context: CliContext): Promise<void> {
  const { gate: limits } = await loadConfig(file, options.set);
  const baseline = await findBaseline(options);
  checkLimits(limits, baseline, file);
  const { folder, report, pagePath } = await makeRun(file, options, baseline, context);
  const { newWays, notes } = await againstBaseline(folder, baseline);
  const result = checkGate(report, limits, newWays);
  if (options.saveBaseline !== undefined)
    await writeBaseline(options.saveBaseline, baselineOf(report, await waysOf(folder)));
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
Exit codes: 0 every figure is within its limit, 100 one is above, 101 undecided, 1 failure, 2 bad usage, 130 interrupted.

Examples:
  floodgate ci floodgate.yaml --set gate.successRate=0.05 --budget targetCalls=2000
  floodgate ci floodgate.yaml --baseline run:last-release --out ci-results
  floodgate ci floodgate.yaml --baseline baseline.json --save-baseline baseline.json`,
    )
    .action((file: string, options: CiOptions) => gate(file, options, context));
}
