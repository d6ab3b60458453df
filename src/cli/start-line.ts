import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import { DEFAULT_RUNS_FOLDER, freeRunName, type RunFolder } from '../runs/run-folder.ts';
import { hasBegun, openStore } from '../runs/store/run-store.ts';
import { isWorldSeeds, loadRunConfig } from '../stages/campaign/config-load.ts';
import { plannedCalls, planRun } from '../stages/campaign/plan-run.ts';
import type { StartRunOptions } from '../stages/campaign/run-campaign.ts';
import type { Config } from '../stages/config/config.ts';
import { loadConfigSeeds, seedsText } from '../stages/config/seeds.ts';
import { worldKindOf } from '../worlds/world-registry.ts';
import { shellWord } from './command-output.ts';
import { type CliContext, ioOf } from './context.ts';
import { durationWords } from './terminal-progress.ts';

/** The command that continues a run from here, whole: with the folders that it does not find by itself. */
function resumeCommand(name: string, runsDir: string, { cacheDir }: CliContext): string {
  const isFoundByItself = runsDir === DEFAULT_RUNS_FOLDER && process.env.FLOODGATE_RUNS === undefined;
  const words = [
    ...['floodgate', 'resume', name],
    ...(isFoundByItself ? [] : ['--runs-dir', runsDir]),
    ...(cacheDir === undefined ? [] : ['--cache-dir', cacheDir]),
  ];
  return words.map(shellWord).join(' ');
}

/** `runs/first`, or the whole path where that is shorter. */
function shortPath(path: string): string {
  const near = relative(process.cwd(), path);
  return near === '' || near.startsWith('..') ? path : near;
}

const calls = (count: number): string => `at most ${count.toLocaleString('en-US')} target calls`;

async function seedCount(config: Config): Promise<number> {
  const { world } = config;
  if (world !== undefined && isWorldSeeds(config)) return worldKindOf(world).seedCount;
  return (await loadConfigSeeds(config)).attacks.length;
}

/**
 * Says what a new run will be before anything heavy is opened; then how long it may take. Returns the options of the
 * run, which tell its true name when its folder is made.
 *
 * @throws FloodgateError `usage` for a name that is taken; `config` for bad seeds; as `planRun` for a missing model.
 */
export async function announceRun(options: StartRunOptions, context: CliContext): Promise<StartRunOptions> {
  const { config, runsFolder } = options;
  const name = await freeRunName(options);
  const resume = (actual: string): string => resumeCommand(actual, runsFolder, context);
  const planned = calls(plannedCalls(config, await seedCount(config)));
  const line = (actual: string): string => `run ${actual} -> ${runsFolder}/${actual}: ${planned}`;
  context.begin(`${line(name)}; Ctrl-C stops it, ${resume(name)} continues it`, context.commandLine);
  if (!isWorldSeeds(config)) context.notify(`the seeds are ${seedsText(await loadConfigSeeds(config))}`);
  await announceTime(config, context);
  const created = (folder: RunFolder): void => {
    context.continueWith(resume(folder.name));
    if (folder.name !== name) context.notify(`${line(folder.name)}; ${resume(folder.name)} continues it`);
  };
  return { ...options, created };
}

/** The time of the plan. A plan that finds too little memory is only told: it is an estimate. */
async function announceTime(config: Config, context: CliContext): Promise<void> {
  try {
    const { seconds, gigaflops, warnings } = await planRun(config, ioOf(context));
    for (const warning of warnings) context.notify(`warning: target: ${warning}`);
    context.notify(`time: about ${durationWords(seconds * 1000)} at the ${gigaflops.toFixed(0)} GFLOP/s measured now`);
  } catch (error) {
    if (!(error instanceof FloodgateError && error.code === 'run')) throw error;
    context.notify(`warning: ${error.message}`);
  }
}

/** Calls and seconds of a run so far, over all its stages. */
async function spentOf(folder: RunFolder): Promise<{ readonly calls: number; readonly seconds: number }> {
  if (!hasBegun(folder.databasePath)) return { calls: 0, seconds: 0 };
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const costs = store.stages().map(({ name }) => store.cost(name));
    return {
      calls: costs.reduce((sum, { targetCalls }) => sum + targetCalls, 0),
      seconds: costs.reduce((sum, { seconds }) => sum + seconds, 0),
    };
  } finally {
    store.close();
  }
}

/** Words for the rest of a run, with the time that its calls have taken so far. */
function restText(rest: number, spent: { readonly calls: number; readonly seconds: number }): string {
  if (spent.calls === 0 || spent.seconds === 0) return calls(rest);
  return `${calls(rest)}, about ${durationWords((1000 * rest * spent.seconds) / spent.calls)} as it has gone so far`;
}

/** Says what is left of a run that is resumed. */
export async function announceResume(folder: RunFolder, runsDir: string, context: CliContext): Promise<void> {
  const config = await loadRunConfig(folder);
  const spent = await spentOf(folder);
  const rest = Math.max(0, plannedCalls(config, await seedCount(config)) - spent.calls);
  const command = resumeCommand(runName(folder, runsDir), runsDir, context);
  context.begin(
    `resume ${folder.name} -> ${shortPath(folder.path)}: ${restText(rest, spent)}; Ctrl-C stops it, ${command} continues it`,
    command,
  );
}

/** The name of a run inside its folder of runs, else its path. */
function runName({ name, path }: RunFolder, runsDir: string): string {
  return existsSync(`${runsDir}/${name}/config.yaml`) ? name : path;
}

/** Says what an evaluation will ask; `stages` and the numbers are absent where the config decides. */
export async function announceEvaluation(
  folder: RunFolder,
  {
    runsDir,
    stages,
    attacks,
    responses,
  }: {
    readonly runsDir: string;
    readonly stages: readonly string[] | undefined;
    readonly attacks: number | undefined;
    readonly responses: number | undefined;
  },
  context: CliContext,
): Promise<void> {
  const { attackers, evaluation } = await loadRunConfig(folder);
  const names = stages ?? attackers;
  const asked = names.length * (attacks ?? evaluation.attacks) * (responses ?? evaluation.responses);
  const spent = await spentOf(folder);
  const command = resumeCommand(runName(folder, runsDir), runsDir, context);
  const causes = evaluation.causes.clusters === 0 ? '' : ', and those of the search for causes';
  context.begin(
    `evaluate ${names.join(', ')} of ${folder.name} -> ${shortPath(folder.path)}: ${restText(asked, spent)}${causes}; Ctrl-C stops it, ${command} continues it`,
    command,
  );
}

/** Says what a study begins, and that the same command continues it. `size`: its calls in words, where they are known. */
export function announceStudy(what: string, path: string, context: CliContext, size?: string): void {
  const planned = size === undefined ? '' : `: ${size}`;
  context.begin(
    `${what} -> ${shortPath(path)}${planned}; Ctrl-C stops it, the same command continues it`,
    context.commandLine,
  );
}
