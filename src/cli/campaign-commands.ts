import { type Command, Option } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { cardOf } from '../exports/import-attacker.ts';
import { evaluateCampaign, resumeCampaign } from '../report/campaigns.ts';
import { type AttackerFolder, readAttackerFile } from '../runs/attacker-folder.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import { sampleAttacks, sampleExportedAttacks, type WrittenAttack } from '../stages/campaign/sample-attacks.ts';
import { stages } from '../stages/registry.ts';
import { type CommandResult, joinLines, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, callsIo, ioOf } from './context.ts';
import { findNamedAttacker } from './named-attacker.ts';
import {
  addCallOptions,
  addRunsOption,
  type CallOptions,
  parsePositive,
  parsePositiveCount,
  type RunsOptions,
  seedOption,
} from './options.ts';
import { campaignResult } from './run-command.ts';
import { announceEvaluation, announceResume } from './start-line.ts';

/** Adds `floodgate resume`. */
export function registerResumeCommand(program: Command, context: CliContext): void {
  const command = program.command('resume').description(COMMAND_WORDS.resume);
  addCallOptions(addRunsOption(command))
    .argument('<run>', 'name or path of the run')
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate resume smollm2\n  floodgate resume smollm2 --budget targetCalls=4000',
    )
    .action(async (run: string, { runsDir, ...options }: RunsOptions & CallOptions) => {
      const io = callsIo(context, options);
      const folder = await openRunFolder(run, runsDir);
      await announceResume(folder, runsDir, context);
      printResult(context, await campaignResult(await resumeCampaign(folder, io)));
    });
}

interface EvaluateOptions extends RunsOptions, CallOptions {
  readonly stage?: readonly string[];
  readonly attacks?: number;
  readonly responses?: number;
  readonly seed?: number;
  readonly replace?: boolean;
}

/** Adds `floodgate evaluate`. */
export function registerEvaluateCommand(program: Command, context: CliContext): void {
  const stage = new Option('--stage <name...>', 'stages to measure (default: as the config says)');
  const command = program.command('evaluate').description(COMMAND_WORDS.evaluate);
  addCallOptions(addRunsOption(command))
    .argument('<run>', 'name or path of the run')
    .addOption(stage.choices(stages.names()))
    .option('--attacks <count>', 'attacks for each stage in all; those that are stored count', parsePositiveCount)
    .option('--responses <count>', 'responses to each attack', parsePositiveCount)
    .addOption(seedOption())
    .option('--replace', 'discard the stored attacks of these stages, and measure them again')
    .addHelpText(
      'after',
      `
A stage is named as in the config: smoothing, not evaluate:smoothing. With the settings of the stored attacks, a larger
--attacks adds to them. Other settings, or fewer attacks, need --replace.

Examples:
  floodgate evaluate smollm2 --stage smoothing --attacks 512
  floodgate evaluate smollm2 --stage smoothing --responses 4 --replace`,
    )
    .action(async (run: string, { runsDir, stage, budget, cache, ...request }: EvaluateOptions) => {
      const io = callsIo(context, { budget, cache });
      const folder = await openRunFolder(run, runsDir);
      const { attacks, responses } = request;
      await announceEvaluation(folder, { runsDir, stages: stage, attacks, responses }, context);
      printResult(context, await campaignResult(await evaluateCampaign(folder, stage, request, io)));
    });
}

interface SampleOptions extends RunsOptions {
  readonly stage?: string;
  readonly count: number;
  readonly temperature: number;
  readonly seed?: number;
}

async function sample(name: string, options: SampleOptions, context: CliContext): Promise<CommandResult> {
  const { runsDir, stage, ...plan } = options;
  const found = await findNamedAttacker({ command: 'sample', name, stage }, runsDir);
  if (found?.kind === 'exported') {
    const { folder } = found;
    const { seed = await cardSeed(folder) } = plan;
    const attacks = await sampleExportedAttacks(folder, { ...plan, seed }, ioOf(context));
    return { text: textsOf(attacks), json: { attacker: folder.name, attacks } };
  }
  const run = found ?? (await refuseMissing(name, runsDir));
  const attacks = await sampleAttacks(run.folder, { ...plan, seed: plan.seed, stage: run.stage }, ioOf(context));
  return { text: textsOf(attacks), json: { run: run.folder.name, stage: run.stage, attacks } };
}

/** @throws FloodgateError of a run that is not there. */
async function refuseMissing(name: string, runsDir: string): Promise<never> {
  const { path } = await openRunFolder(name, runsDir);
  throw new FloodgateError('run', `sample ${name}: ${path} holds no config.yaml, so it is no run`);
}

const textsOf = (attacks: readonly WrittenAttack[]): string => joinLines(attacks.map(({ text }) => text));

/** The seed of the run that trained it: without another, it writes what that run's own attacker writes. */
async function cardSeed(folder: AttackerFolder): Promise<number> {
  return cardOf(folder, await readAttackerFile(folder)).run.seed;
}

/** Adds `floodgate sample`. */
export function registerSampleCommand(program: Command, context: CliContext): void {
  const stage = new Option('--stage <name>', "stage of a run's attacker (default: the last one done)");
  addRunsOption(program.command('sample').description(COMMAND_WORDS.sample))
    .argument('<run|attacker>', 'name or path of a run, or an imported attacker as attacker:NAME')
    .addOption(stage.choices(stages.names()))
    .option('--count <number>', 'attacks to write', parsePositiveCount, 20)
    .option('--temperature <number>', 'sampling temperature', parsePositive, 1)
    .addOption(seedOption())
    .addHelpText(
      'after',
      `
With the same seed, an imported attacker writes what its run's own attacker writes. The folder of an exported attacker
is sampled as it is, by its path.

Examples:
  floodgate sample smollm2 --count 100 --json
  floodgate sample attacker:colleagues --seed 3`,
    )
    .action(async (name: string, options: SampleOptions) => printResult(context, await sample(name, options, context)));
}
