import { parseArgs } from 'node:util';
import { type Command, CommanderError } from 'commander';
import { exitCodeOf, FloodgateError, redactSecrets } from '../base/errors.ts';
import { silentProgress } from '../base/progress.ts';
import { printableJson } from '../base/unprintable.ts';
import { BudgetSpent } from '../trial/budget-spent.ts';
import { inertFileText, printableLines, shellWord } from './command-output.ts';
import type { CliContext } from './context.ts';
import { createProgram, type ProgramParts } from './program.ts';

/** The JSON object that `--json` prints when a command fails. */
interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string };
}

/** Most causes that are followed: a chain that loops must not print for ever. */
const MAX_CAUSES = 10;

function isInterruption(error: unknown): error is FloodgateError {
  return error instanceof FloodgateError && error.code === 'interrupted';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? redactSecrets(error.message || error.name) : redactSecrets(String(error));
}

/** The lines after the first are indented: a name with a line break in it cannot look like output of its own. */
function asOneItem(text: string): string {
  return text.replace(/\n(?=\S)/g, '\n  ');
}

/** Returns the error as text: message and hint; with `debug` its stack and those of its causes. */
function errorText(error: unknown, debug: boolean): string {
  const lines = [`error: ${messageOf(error)}`];
  if (error instanceof FloodgateError && error.hint !== undefined) lines.push(`hint: ${error.hint}`);
  if (!(error instanceof FloodgateError) && !debug) lines.push('hint: --debug shows where this came from');
  if (debug) {
    let current: unknown = error;
    for (let depth = 0; depth < MAX_CAUSES && current instanceof Error; depth++) {
      lines.push(`${depth === 0 ? '' : 'caused by: '}${redactSecrets(current.stack ?? current.message)}`);
      current = current.cause;
    }
  }
  return printableLines(lines.map(asOneItem).join('\n'));
}

/** An interruption is a wish, no error: it says what is kept, and the command that continues. */
function interruptedText(error: FloodgateError, resumption: string | undefined): string {
  const command = resumption === undefined ? [] : [`continue: ${resumption}`];
  const hint = resumption === undefined && error.hint !== undefined ? [`hint: ${error.hint}`] : [];
  return printableLines([`stopped: ${error.message}`, ...command, ...hint].map(asOneItem).join('\n'));
}

/** Returns the error as the one JSON object that `--json` promises. */
function errorJson(error: unknown, resumption: string | undefined): ErrorJson {
  const isOurs = error instanceof FloodgateError;
  const hint = isOurs ? ((isInterruption(error) ? resumption : undefined) ?? error.hint) : undefined;
  return {
    error: {
      code: isOurs ? error.code : 'unexpected',
      message: messageOf(error),
      ...(hint === undefined ? {} : { hint }),
    },
  };
}

import { createTerminalProgress, type ProgressStream, type TerminalProgress } from './terminal-progress.ts';

/** The surroundings of a command line: two streams and an interrupt. */
export interface CliIo {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: ProgressStream;
  readonly signal: AbortSignal;
  /** Told the command that continues the work of this one, as soon as it is known. */
  readonly continueWith?: (command: string) => void;
  /** Asks whoever sits at the terminal; absent where nobody does. */
  readonly ask?: (question: string) => Promise<string>;
}

interface GlobalFlags {
  readonly json: boolean;
  readonly debug: boolean;
  readonly cacheDir: string | undefined;
}

/** The flags that shape output. They are read first, so that even a usage error follows them. */
function readGlobalFlags(args: readonly string[]): GlobalFlags {
  const { values } = parseArgs({
    args: [...args],
    strict: false,
    allowPositionals: true,
    options: { json: { type: 'boolean' }, debug: { type: 'boolean' }, 'cache-dir': { type: 'string' } },
  });
  const cacheDir = values['cache-dir'];
  return {
    json: values.json === true,
    debug: values.debug === true,
    cacheDir: typeof cacheDir === 'string' ? cacheDir : undefined,
  };
}

/** Our error for one of commander's, such as `error: unknown option '--x'\n(Did you mean --y?)`. */
function usageError(error: CommanderError, program: string): FloodgateError {
  const [what = '', ...advice] = error.message.replace(/^error: /, '').split('\n');
  const hint = advice
    .join(' ')
    .replace(/^\((.*)\)$/, '$1')
    .trim();
  return new FloodgateError('usage', what, {
    hint: hint === '' ? `${program} --help lists commands and options` : hint,
  });
}

function createContext(
  io: CliIo & Pick<CliContext, 'exitWith'>,
  flags: GlobalFlags,
  terminal: TerminalProgress,
  commandLine: string,
): CliContext {
  const notify = (line: string): void => {
    if (flags.json) return;
    terminal.clear();
    io.stderr.write(`${printableLines(line)}\n`);
  };
  const continueWith = (command: string): void => io.continueWith?.(command);
  return {
    commandLine,
    begin: (line, command) => {
      continueWith(command);
      notify(line);
    },
    continueWith,
    exitWith: io.exitWith,
    progress: flags.json ? silentProgress : terminal,
    out: (text) => {
      if (!flags.json) terminal.clear();
      io.stdout.write(`${flags.json ? printableJson(text) : printableLines(text)}\n`);
    },
    writeFileText: (text) => {
      terminal.clear();
      io.stdout.write(inertFileText(text));
    },
    notify,
    json: flags.json,
    signal: io.signal,
    ...(io.ask === undefined || flags.json ? {} : { ask: io.ask }),
    ...(flags.cacheDir === undefined ? {} : { cacheDir: flags.cacheDir }),
  };
}

/**
 * Runs one command line (without node and script). Returns the exit code; every error has been printed.
 *
 * @param create makes the program: Floodgate's own, or another set of commands.
 */
export async function runCli(
  args: readonly string[],
  io: CliIo,
  create: (parts: ProgramParts, args: readonly string[]) => Command | Promise<Command> = createProgram,
): Promise<number> {
  const flags = readGlobalFlags(args);
  const terminal = createTerminalProgress(io.stderr);
  let resumption: string | undefined;
  const remember = (command: string): void => {
    resumption = command;
    io.continueWith?.(command);
  };
  const commandLine = ['floodgate', ...args].map(shellWord).join(' ');
  let exitCode = 0;
  const exitWith = (code: number): void => {
    exitCode = code;
  };
  const context = createContext({ ...io, continueWith: remember, exitWith }, flags, terminal, commandLine);
  const program = await create({ context, write: (text) => void io.stdout.write(printableLines(text)) }, args);
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (thrown) {
    // Commander throws help and version too, with exit code 0; `floodgate` alone shows help as bad usage.
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0;
    if (thrown instanceof CommanderError && thrown.code === 'commander.help') return 2;
    const error = thrown instanceof CommanderError ? usageError(thrown, program.name()) : thrown;
    if (error instanceof BudgetSpent && resumption !== undefined) resumption += ` ${error.option}`;
    if (flags.json) context.out(JSON.stringify(errorJson(error, resumption), null, 2));
    else {
      terminal.clear();
      const text =
        isInterruption(error) && !flags.debug ? interruptedText(error, resumption) : errorText(error, flags.debug);
      io.stderr.write(`${text}\n`);
    }
    return exitCodeOf(error);
  }
}
