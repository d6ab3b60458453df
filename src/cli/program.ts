import { Command } from 'commander';
import { packageVersion } from '../base/package-root.ts';
import { COMMAND_WORDS, type CommandName } from './command-words.ts';
import type { CliContext } from './context.ts';

type Register = (program: Command, context: CliContext) => void;

/** Each command's own module, with all that it needs. */
const COMMANDS: Readonly<Record<CommandName, () => Promise<Register>>> = {
  init: async () => (await import('./init-command.ts')).registerInitCommand,
  config: async () => (await import('./config-command.ts')).registerConfigCommand,
  models: async () => (await import('./models-command.ts')).registerModelsCommand,
  target: async () => (await import('./target-command.ts')).registerTargetCommand,
  judge: async () => (await import('./judge-command.ts')).registerJudgeCommand,
  run: async () => (await import('./run-command.ts')).registerRunCommand,
  resume: async () => (await import('./campaign-commands.ts')).registerResumeCommand,
  evaluate: async () => (await import('./campaign-commands.ts')).registerEvaluateCommand,
  sample: async () => (await import('./campaign-commands.ts')).registerSampleCommand,
  demo: async () => (await import('./world-commands.ts')).registerDemoCommand,
  tune: async () => (await import('./tune-command.ts')).registerTuneCommand,
  transfer: async () => (await import('./transfer-command.ts')).registerTransferCommand,
  robustness: async () => (await import('./robustness-command.ts')).registerRobustnessCommand,
  rounds: async () => (await import('./rounds-command.ts')).registerRoundsCommand,
  world: async () => (await import('./world-commands.ts')).registerWorldCommand,
  list: async () => (await import('./runs-commands.ts')).registerListCommand,
  compare: async () => (await import('./compare-command.ts')).registerCompareCommand,
  ci: async () => (await import('./ci-command.ts')).registerCiCommand,
  show: async () => (await import('./show-command.ts')).registerShowCommand,
  report: async () => (await import('./runs-commands.ts')).registerReportCommand,
  export: async () => (await import('./export-command.ts')).registerExportCommand,
  label: async () => (await import('./label-command.ts')).registerLabelCommand,
  attacker: async () => (await import('./attacker-command.ts')).registerAttackerCommand,
  serve: async () => (await import('./serve-command.ts')).registerServeCommand,
  view: async () => (await import('./view-command.ts')).registerViewCommand,
  worker: async () => (await import('./worker-command.ts')).registerWorkerCommand,
  rm: async () => (await import('./runs-commands.ts')).registerRmCommand,
};

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
  floodgate worker --queue redis://127.0.0.1:6379

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

const isCommand = (word: string | undefined): word is CommandName => word !== undefined && word in COMMANDS;

/** The command that a command line calls, or asks the help of; undefined for the help of all, and for none of ours. */
function calledCommand(args: readonly string[]): CommandName | undefined {
  const words = args.filter((arg, i) => !arg.startsWith('-') && args[i - 1] !== '--cache-dir');
  const [word] = words[0] === 'help' ? words.slice(1) : words;
  return isCommand(word) ? word : undefined;
}

/**
 * Returns the command line of Floodgate. It throws commander's errors and never exits.
 * @param args only the command that they call is loaded, the others are named alone; absent: all are.
 */
export async function createProgram({ context, write }: ProgramParts, args?: readonly string[]): Promise<Command> {
  const program = createBareProgram('floodgate', write)
    .description('Finds the many different ways a language model can be made to misbehave.')
    .addHelpText('after', EXAMPLES);
  const called = args === undefined ? undefined : calledCommand(args);
  for (const [name, load] of Object.entries(COMMANDS) as [CommandName, () => Promise<Register>][]) {
    if (args === undefined || name === called) (await load())(program, context);
    else program.command(name).description(COMMAND_WORDS[name]);
  }
  return program;
}
