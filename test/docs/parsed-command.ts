import type { Command } from 'commander';
import { createLabProgram } from '../../lab/registry.ts';
import { createProgram } from '../../src/cli/program.ts';
import type { runCli } from '../../src/cli/run-cli.ts';
import { cli } from '../cli/cli-runner.ts';

type CreateProgram = NonNullable<Parameters<typeof runCli>[2]>;

/** A command line after the real program has parsed it; its action did not run. */
export interface ParsedCommand {
  /** Names from the program's commands down: `['judge', 'calibrate']`. */
  readonly path: readonly string[];
  readonly arguments: readonly unknown[];
  readonly options: Readonly<Record<string, unknown>>;
}

function pathOf(command: Command): string[] {
  return command.parent === null ? [] : [...pathOf(command.parent), command.name()];
}

/** Commands with an action: those that take arguments, or have no commands of their own. */
function actingIn(command: Command): Command[] {
  const acts = command.commands.length === 0 || command.registeredArguments.length > 0;
  return [...(acts ? [command] : []), ...command.commands.flatMap(actingIn)];
}

export type ProgramName = 'floodgate' | 'lab';
const PROGRAMS: Readonly<Record<ProgramName, CreateProgram>> = { floodgate: createProgram, lab: createLabProgram };

/** Parses a command line with the program itself. Returns its error where the program refuses it. */
export async function parseCommand(program: ProgramName, args: readonly string[]): Promise<ParsedCommand | string> {
  const parsed: ParsedCommand[] = [];
  const create: CreateProgram = async (parts, given) => {
    const made = await PROGRAMS[program](parts, given);
    for (const acting of actingIn(made)) {
      acting.action(() => {
        parsed.push({ path: pathOf(acting), arguments: acting.processedArgs, options: acting.opts() });
      });
    }
    return made;
  };
  const { code, stderr, stdout } = await cli(args, {}, create);
  if (code !== 0) return (stderr || stdout).trim();
  return parsed[0] ?? { path: [], arguments: [], options: {} };
}

async function wholeProgram(program: ProgramName): Promise<Command> {
  const made: Command[] = [];
  await cli(['--version'], {}, async (parts) => {
    const command = await (program === 'floodgate' ? createProgram(parts) : createLabProgram(parts));
    made.push(command);
    return command;
  });
  return made[0] as Command;
}

const whole = new Map<ProgramName, Promise<Command>>();

/** The program with all its commands and their options; nothing is parsed but `--version`. It is made once. */
export function programOf(program: ProgramName): Promise<Command> {
  const made = whole.get(program) ?? wholeProgram(program);
  whole.set(program, made);
  return made;
}

/** The help of each command of the program, its own first, by the names that ask for it. */
export async function helpTexts(program: ProgramName): Promise<Map<string, string>> {
  const gathered = (command: Command): string[][] => [pathOf(command), ...command.commands.flatMap(gathered)];
  const texts = new Map<string, string>();
  for (const path of gathered(await programOf(program))) {
    const { stdout } = await cli([...path, '--help'], {}, PROGRAMS[program]);
    texts.set(path.join(' '), stdout);
  }
  return texts;
}
