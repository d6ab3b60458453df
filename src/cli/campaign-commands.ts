import { basename, extname } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { DEVICES, type Device } from '../engine/runtime/device.ts';
import { openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { ATTACKERS, type AttackerName } from '../stages/config/attacker-names.ts';
import { loadConfig } from '../stages/config/config-load.ts';
import type { Config } from '../stages/config/config-schema.ts';
import { type CommandResult, printResult } from './command-output.ts';
import type { CliContext } from './context.ts';
import {
  addRunsOption,
  addSetOption,
  parseCount,
  parsePositiveCount,
  type RunsOptions,
  type SetOptions,
} from './options.ts';

export type StageName = AttackerName;
const STAGES: readonly StageName[] = ATTACKERS;

export interface RunRequest {
  readonly config: Config;
  readonly name: string;
  /** True when the user chose the name: then a taken one is refused, else it is numbered. */
  readonly isNameChosen: boolean;
  readonly runsFolder: string;
  /** Say what the run would cost and start nothing. */
  readonly isDryRun: boolean;
}

export interface ResumeRequest {
  readonly folder: RunFolder;
}

export interface EvaluateRequest {
  readonly folder: RunFolder;
  /** Undefined: those of the config. */
  readonly stages: readonly StageName[] | undefined;
  readonly attacks: number | undefined;
  readonly responses: number | undefined;
  readonly seed: number | undefined;
}

export interface SampleRequest {
  readonly folder: RunFolder;
  readonly stage: StageName | undefined;
  readonly count: number;
  readonly temperature: number;
  readonly seed: number | undefined;
}

/** What the campaign does for the commands that train or sample. Each result is printed once, as text or JSON. */
export interface CampaignActions {
  run(request: RunRequest, context: CliContext): Promise<CommandResult>;
  resume(request: ResumeRequest, context: CliContext): Promise<CommandResult>;
  evaluate(request: EvaluateRequest, context: CliContext): Promise<CommandResult>;
  sample(request: SampleRequest, context: CliContext): Promise<CommandResult>;
}

interface RunOptions extends RunsOptions, SetOptions {
  readonly name?: string;
  readonly seed?: number;
  readonly threads?: number;
  readonly device?: Device;
  readonly dryRun?: boolean;
}

function parsePositive(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value > 0 && Number.isFinite(value)))
    throw new InvalidArgumentError('expected a number above 0.');
  return value;
}

const seedOption = (): Option => new Option('--seed <number>', 'seed of every random draw').argParser(parseCount);

/** `--device` moves every model that the config places; judges keep theirs. */
function withDevice(config: Config, device: Device | undefined): Config {
  if (device === undefined) return config;
  const { attacker, target, encoder } = config;
  return {
    ...config,
    attacker: { ...attacker, device },
    target: target.kind === 'local' ? { ...target, device } : target,
    encoder: { ...encoder, device },
  };
}

/** Returns the run that a config file and the flags ask for. */
async function requestOf(file: string, options: RunOptions): Promise<RunRequest> {
  const overrides = [
    ...options.set,
    ...(options.name === undefined ? [] : [`name=${JSON.stringify(options.name)}`]),
    ...(options.seed === undefined ? [] : [`seed=${options.seed}`]),
    ...(options.threads === undefined ? [] : [`threads=${options.threads}`]),
  ];
  const config = withDevice(await loadConfig(file, overrides), options.device);
  return {
    config,
    name: config.name ?? basename(file, extname(file)),
    isNameChosen: options.name !== undefined,
    runsFolder: options.runsDir,
    isDryRun: options.dryRun ?? false,
  };
}

function registerRun(program: Command, context: CliContext, actions: CampaignActions): void {
  addSetOption(addRunsOption(program.command('run').description('train and measure an attacker as a config says')))
    .argument('<config>', 'config file')
    .option('--name <name>', 'name of the run (default: from the config, numbered when taken)')
    .addOption(seedOption())
    .option('--threads <count>', 'threads of the model runtime', parsePositiveCount)
    .addOption(new Option('--device <device>', 'where the models run').choices(DEVICES))
    .option('--dry-run', 'say what the run would do and cost; start nothing')
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate run examples/smollm2.yaml --dry-run\n  floodgate run examples/smollm2.yaml --seed 2 --name second\n  floodgate run examples/smollm2.yaml --set gflownet.updates=50 --set gflownet.objective=ctb',
    )
    .action(async (file: string, options: RunOptions) =>
      printResult(context, await actions.run(await requestOf(file, options), context)),
    );
}

function registerResume(program: Command, context: CliContext, actions: CampaignActions): void {
  addRunsOption(program.command('resume').description('continue a run that was stopped, interrupted or killed'))
    .argument('<run>', 'name or path of the run')
    .addHelpText('after', '\nExamples:\n  floodgate resume smollm2')
    .action(async (run: string, { runsDir }: RunsOptions) =>
      printResult(context, await actions.resume({ folder: await openRunFolder(run, runsDir) }, context)),
    );
}

interface EvaluateOptions extends RunsOptions {
  readonly stage?: readonly StageName[];
  readonly attacks?: number;
  readonly responses?: number;
  readonly seed?: number;
}

function registerEvaluate(program: Command, context: CliContext, actions: CampaignActions): void {
  addRunsOption(program.command('evaluate').description('measure the trained attackers of a run with fresh attacks'))
    .argument('<run>', 'name or path of the run')
    .addOption(new Option('--stage <name...>', 'stages to measure (default: as the config says)').choices(STAGES))
    .option('--attacks <count>', 'attacks for each stage', parsePositiveCount)
    .option('--responses <count>', 'responses to each attack', parsePositiveCount)
    .addOption(seedOption())
    .addHelpText('after', '\nExamples:\n  floodgate evaluate smollm2 --stage smoothing --attacks 512')
    .action(async (run: string, { runsDir, stage, attacks, responses, seed }: EvaluateOptions) => {
      const folder = await openRunFolder(run, runsDir);
      printResult(context, await actions.evaluate({ folder, stages: stage, attacks, responses, seed }, context));
    });
}

interface SampleOptions extends RunsOptions {
  readonly stage?: StageName;
  readonly count: number;
  readonly temperature: number;
  readonly seed?: number;
}

function registerSample(program: Command, context: CliContext, actions: CampaignActions): void {
  addRunsOption(program.command('sample').description('write attacks from a trained attacker'))
    .argument('<run>', 'name or path of the run')
    .addOption(new Option('--stage <name>', 'stage of the attacker (default: the last one done)').choices(STAGES))
    .option('--count <number>', 'attacks to write', parsePositiveCount, 20)
    .option('--temperature <number>', 'sampling temperature', parsePositive, 1)
    .addOption(seedOption())
    .addHelpText('after', '\nExamples:\n  floodgate sample smollm2 --count 100 --json')
    .action(async (run: string, { runsDir, stage, count, temperature, seed }: SampleOptions) => {
      const folder = await openRunFolder(run, runsDir);
      printResult(context, await actions.sample({ folder, stage, count, temperature, seed }, context));
    });
}

/** Adds `floodgate run`, `resume`, `evaluate` and `sample`. */
export function registerCampaignCommands(program: Command, context: CliContext, actions: CampaignActions): void {
  registerRun(program, context, actions);
  registerResume(program, context, actions);
  registerEvaluate(program, context, actions);
  registerSample(program, context, actions);
}
