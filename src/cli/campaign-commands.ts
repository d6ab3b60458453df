import { type Command, Option } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { evaluateCampaign, resumeCampaign } from '../report/campaigns.ts';
import { readRun } from '../report/run-overview.ts';
import { openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { lastTrainedStage, sampleAttacks } from '../stages/campaign/sample-attacks.ts';
import { stages } from '../stages/registry.ts';
import { type CommandResult, joinLines, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, callsIo, ioOf } from './context.ts';
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

/** @throws FloodgateError `run` when no stage has left an attacker. */
async function lastStage(folder: RunFolder): Promise<string> {
  const stage = await readRun(folder, (_overview, store) =>
    store === undefined ? undefined : lastTrainedStage(store),
  );
  if (stage !== undefined) return stage;
  throw new FloodgateError('run', `sample ${folder.name}: no stage is done, so there is no attacker yet`);
}

async function sample(run: string, options: SampleOptions, context: CliContext): Promise<CommandResult> {
  const { runsDir, count, temperature, seed } = options;
  const folder = await openRunFolder(run, runsDir);
  const stage = options.stage ?? (await lastStage(folder));
  const attacks = await sampleAttacks(folder, { stage, count, temperature, seed }, ioOf(context));
  const text = joinLines(attacks.map((attack) => attack.text));
  return { text, json: { run: folder.name, stage, attacks } };
}

/** Adds `floodgate sample`. */
export function registerSampleCommand(program: Command, context: CliContext): void {
  const stage = new Option('--stage <name>', 'stage of the attacker (default: the last one done)');
  addRunsOption(program.command('sample').description(COMMAND_WORDS.sample))
    .argument('<run>', 'name or path of the run')
    .addOption(stage.choices(stages.names()))
    .option('--count <number>', 'attacks to write', parsePositiveCount, 20)
    .option('--temperature <number>', 'sampling temperature', parsePositive, 1)
    .addOption(seedOption())
    .addHelpText('after', '\nExamples:\n  floodgate sample smollm2 --count 100 --json')
    .action(async (run: string, options: SampleOptions) => printResult(context, await sample(run, options, context)));
}
