import { Command } from 'commander';
import { packageVersion } from '../base/package-root.ts';
import { registerAttackerCommand } from './attacker-command.ts';
import { registerCampaignCommands } from './campaign-commands.ts';
import { registerCiCommand } from './ci-command.ts';
import { registerCompareCommand } from './compare-command.ts';
import { registerConfigCommand } from './config-command.ts';
import type { CliContext } from './context.ts';
import { registerExportCommand } from './export-command.ts';
import { registerInitCommand } from './init-command.ts';
import { registerJudgeCommand } from './judge-command.ts';
import { registerLabelCommand } from './label-command.ts';
import { registerModelsCommand } from './models-command.ts';
import { registerRobustnessCommand } from './robustness-command.ts';
import { registerRoundsCommand } from './rounds-command.ts';
import { registerRunCommand } from './run-command.ts';
import { registerListCommand, registerReportCommand, registerRmCommand } from './runs-commands.ts';
import { registerServeCommand } from './serve-command.ts';
import { registerShowCommand } from './show-command.ts';
import { registerTargetCommand } from './target-command.ts';
import { registerTransferCommand } from './transfer-command.ts';
import { registerTuneCommand } from './tune-command.ts';
import { registerViewCommand } from './view-command.ts';
import { registerDemoCommand, registerWorldCommand } from './world-commands.ts';

const EXAMPLES = `
Examples:
  floodgate init
  floodgate target test floodgate.yaml
  floodgate judge calibrate labelled.csv --run first
  floodgate run floodgate.yaml --dry-run
  floodgate run floodgate.yaml --name first --set seed=1
  floodgate resume first
  floodgate show first --attacks 10
  floodgate compare first second
  floodgate ci floodgate.yaml --baseline first
  floodgate report first
  floodgate export first --format csv --out first.csv
  floodgate label verdict first 58 2 unsafe
  floodgate list --json
  floodgate tune first --name safe
  floodgate transfer first --targets targets.yaml
  floodgate robustness first
  floodgate rounds floodgate.yaml --rounds 3
  floodgate attacker export first
  floodgate serve first
  floodgate view

Exit codes: 0 done, 1 failure, 2 bad usage or config, 130 interrupted; floodgate ci has its own.`;

export interface ProgramParts {
  readonly context: CliContext;
  readonly write: (text: string) => void;
}

/** Returns a program with the global options and no commands. It throws commander's errors and never exits. */
export function createBareProgram(name: string, write: ProgramParts['write']): Command {
  return new Command(name)
    .version(packageVersion())
    .option('--json', 'print one JSON object instead of text')
    .option('--debug', 'show where an error came from')
    .option('--cache-dir <folder>', 'folder of the model cache')
    .exitOverride()
    .configureOutput({ writeOut: write, writeErr: write, outputError: () => undefined });
}

/** Returns the command line of Floodgate. It throws commander's errors and never exits. */
export function createProgram({ context, write }: ProgramParts): Command {
  const program = createBareProgram('floodgate', write)
    .description('Finds the many different ways a language model can be made to misbehave.')
    .addHelpText('after', EXAMPLES);
  registerInitCommand(program, context);
  registerConfigCommand(program, context);
  registerModelsCommand(program, context);
  registerTargetCommand(program, context);
  registerJudgeCommand(program, context);
  registerRunCommand(program, context);
  registerCampaignCommands(program, context);
  registerDemoCommand(program, context);
  registerTuneCommand(program, context);
  registerTransferCommand(program, context);
  registerRobustnessCommand(program, context);
  registerRoundsCommand(program, context);
  registerWorldCommand(program, context);
  registerListCommand(program, context);
  registerCompareCommand(program, context);
  registerCiCommand(program, context);
  registerShowCommand(program, context);
  registerReportCommand(program, context);
  registerExportCommand(program, context);
  registerLabelCommand(program, context);
  registerAttackerCommand(program, context);
  registerServeCommand(program, context);
  registerViewCommand(program, context);
  registerRmCommand(program, context);
  return program;
}
