import { basename, extname, join } from 'node:path';
import { type Command, Option } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { DEVICES, type Device } from '../engine/runtime/device.ts';
import { type ReportedRun, runCampaign } from '../report/campaigns.ts';
import { runSeedCampaigns, type SeedRuns } from '../report/compare/seed-figures.ts';
import { readRun } from '../report/run-overview.ts';
import { counted, measureText } from '../report/words/number-words.ts';
import { isSyntheticWorld } from '../report/words/stage-words.ts';
import { loadConfig } from '../stages/campaign/config-load.ts';
import { planRun, type RunPlan } from '../stages/campaign/plan-run.ts';
import type { StartRunOptions } from '../stages/campaign/run-campaign.ts';
import type { Config } from '../stages/config/config.ts';
import { parseSeeds, seedRunName } from '../studies/seeds/run-seeds.ts';
import { parseBudget } from '../trial/budget.ts';
import { alignColumns, type CommandResult, moneyWords, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, callsIo, ioOf } from './context.ts';
import {
  addCallOptions,
  addRunsOption,
  addSetOption,
  type CallOptions,
  parsePositiveCount,
  type RunsOptions,
  type SetOptions,
  seedOption,
} from './options.ts';
import { eventsText, reportTable } from './run-text.ts';
import { announceRun, announceStudy } from './start-line.ts';
import { durationWords } from './terminal-progress.ts';

interface RunOptions extends RunsOptions, SetOptions, Partial<CallOptions> {
  readonly name?: string;
  readonly seed?: number;
  readonly seeds?: string;
  readonly threads?: number;
  readonly device?: Device;
  readonly dryRun?: boolean;
}

/** `--device` moves every model that the config places; judges keep theirs. */
function withDevice(config: Config, device: Device | undefined): Config {
  if (device === undefined) return config;
  const { attacker, target, encoder } = config;
  return {
    ...config,
    attacker: { ...attacker, device },
    target: 'device' in target ? { ...target, device } : target,
    encoder: { ...encoder, device },
  };
}

/** The run that a config file and the flags ask for. A name from `--name` is refused when taken; others get a number. */
export async function runRequest(file: string, options: RunOptions): Promise<StartRunOptions> {
  const overrides = [
    ...options.set,
    ...Object.entries(parseBudget(options.budget ?? [])).map(([cap, most]) => `budget.${cap}=${most}`),
    ...(options.name === undefined ? [] : [`name=${JSON.stringify(options.name)}`]),
    ...(options.seed === undefined ? [] : [`seed=${options.seed}`]),
    ...(options.threads === undefined ? [] : [`threads=${options.threads}`]),
  ];
  const config = withDevice(await loadConfig(file, overrides), options.device);
  return {
    config,
    runsFolder: options.runsDir,
    name: config.name ?? basename(file, extname(file)),
    ifTaken: options.name === undefined ? 'number' : 'refuse',
  };
}

/** The cost of calls to others, and the caps that stop them; nothing for a run on this machine. */
function priceLines({ hosts, money, budget, latencyMs }: RunPlan): string[] {
  const caps = Object.entries(budget).map(([cap, most]) => `${cap} ${most?.toLocaleString('en-US')}`);
  const limit = caps.length === 0 ? [] : [`Budget: the run stops before it exceeds ${caps.join(', ')}.`];
  const wait = latencyMs === null ? [] : [`One answer took ${(latencyMs / 1000).toFixed(2)} s just now.`];
  const free = hosts.length === 0 ? [] : ['Money: no price is given (prices.target, prices.judges).'];
  if (money === null) return [...wait, ...free, ...limit];
  const { currency, target, judges } = money;
  const parts = `target ${moneyWords(target)}, judges ${moneyWords(judges)}`;
  return [...wait, `Money: at most ${moneyWords(target + judges)} ${currency} by prices (${parts}).`, ...limit];
}

function planText(plan: RunPlan): string {
  const { seedsRead, stages, hosts, warnings, memoryBytes, gigaflops, seconds } = plan;
  const rows = stages.map(({ name, attacks, targetCalls, judgeCalls, tokens, seconds: each }) => [
    name,
    ...[attacks, targetCalls, judgeCalls, tokens].map((count) => count.toLocaleString('en-US')),
    durationWords(each * 1000),
  ]);
  return [
    alignColumns([['stage', 'attacks', 'target calls', 'judge calls', 'tokens', 'about'], ...rows]),
    '',
    `Seeds: ${seedsRead}`,
    ...(hosts.length === 0
      ? []
      : [`Hosts that are contacted: ${hosts.join(', ')}. Harmless prompts went to the target just now.`]),
    ...priceLines(plan),
    ...warnings.map((warning) => `warning: target: ${warning}`),
    `About ${(memoryBytes / 2 ** 30).toFixed(1)} GiB of memory; about ${durationWords(seconds * 1000)} at the ${gigaflops.toFixed(0)} GFLOP/s measured now. Nothing was started.`,
  ].join('\n');
}

/** The figures of a run, its last warnings, and the paths of its report. */
export async function campaignResult({ folder, report, reportPath, pagePath }: ReportedRun): Promise<CommandResult> {
  const warnings = eventsText(await readRun(folder, (_overview, store) => store?.events() ?? []));
  const isWorld = report.stages.some(isSyntheticWorld);
  const lines = [
    reportTable(report),
    '',
    isWorld
      ? 'keys found: share of the planted keys that a successful attack holds. share error: distance of the keys’ shares from the reward’s own; its floor is the share error of an exact sampler’s draw.'
      : '* the judge that counts.',
    ...(warnings === '' ? [] : [warnings, '']),
    `Figures: ${reportPath}`,
    `Report to read in a browser: ${pagePath}`,
    isWorld
      ? 'Next, on a real model: floodgate models pull smollm2-135m-instruct, then floodgate run examples/smollm2.yaml'
      : `Next: floodgate show ${folder.name} --attacks 10`,
  ];
  return { text: lines.join('\n'), json: report };
}

function seedsText({ runs, figures }: SeedRuns): string {
  const names = runs.map(({ folder }) => folder.name);
  const rows = figures.map(({ attacker, figure, values, mean }) => {
    const digits = figure === 'success rate' ? 3 : 1;
    const each = values.map((value) => (value?.value == null ? '-' : value.value.toFixed(digits)));
    return [attacker, figure, ...each, measureText(mean, digits)];
  });
  return [
    alignColumns([['attacker', 'figure', ...names, 'mean over seeds'], ...rows]),
    '',
    `Next: floodgate show ${names[0]}, floodgate compare ${names.slice(0, 2).join(' ')}`,
  ].join('\n');
}

/** The runs of several seeds, and the mean of each figure over them. */
async function runSeveral(file: string, options: RunOptions, context: CliContext): Promise<CommandResult> {
  if (options.seed !== undefined) throw new FloodgateError('usage', 'run: got both --seed and --seeds, expected one');
  const seeds = parseSeeds(options.seeds as string);
  const { config, name, runsFolder } = await runRequest(file, options);
  if (options.dryRun === true) {
    const plan = await planRun({ ...config, seed: seeds[0] as number }, ioOf(context));
    return { text: `${planText(plan)}\nThis is one of ${counted(seeds.length, 'run')}.`, json: { ...plan, seeds } };
  }
  announceStudy(counted(seeds.length, 'seed'), join(runsFolder, seedRunName(name, '*')), context);
  const done = await runSeedCampaigns({ config, name, runsFolder, seeds }, callsIo(context, options));
  const runs = done.runs.map(({ folder, report }) => ({ run: folder.name, path: folder.path, report }));
  return { text: seedsText(done), json: { seeds, runs, figures: done.figures } };
}

async function run(file: string, options: RunOptions, context: CliContext): Promise<CommandResult> {
  if (options.seeds !== undefined) return runSeveral(file, options, context);
  const request = await runRequest(file, options);
  if (options.dryRun !== true)
    return campaignResult(await runCampaign(await announceRun(request, context), callsIo(context, options)));
  const plan = await planRun(request.config, ioOf(context));
  return { text: planText(plan), json: plan };
}

/** Adds `floodgate run`. */
export function registerRunCommand(program: Command, context: CliContext): void {
  const command = program.command('run').description(COMMAND_WORDS.run);
  addCallOptions(addSetOption(addRunsOption(command)))
    .argument('<config>', 'config file')
    .option('--name <name>', 'name of the run (default: from the config, numbered when taken)')
    .addOption(seedOption())
    .option('--seeds <list>', 'a run for each of several seeds, e.g. 0..4 or 0,3,7, and the means over them')
    .option('--threads <count>', 'threads of the model runtime', parsePositiveCount)
    .addOption(new Option('--device <device>', 'where the models run').choices(DEVICES))
    .option('--dry-run', 'say what the run would do and cost; start nothing')
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate run examples/smollm2.yaml --dry-run\n  floodgate run examples/smollm2.yaml --seed 2 --name second\n  floodgate run examples/smollm2.yaml --set gflownet.updates=50 --set gflownet.objective=ctb\n  floodgate run examples/smollm2.yaml --seeds 0..4',
    )
    .action(async (file: string, options: RunOptions) => printResult(context, await run(file, options, context)));
}
