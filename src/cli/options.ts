import { type Command, InvalidArgumentError, Option } from 'commander';
import { DEFAULT_RUNS_FOLDER } from '../runs/run-folder.ts';
import { DEFAULT_WORLD } from '../worlds/world-spec.ts';

/** A whole number from an option's text, 0 included. */
export function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}

/** A whole number of at least 1. */
export function parsePositiveCount(text: string): number {
  if (!/^0*[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('expected a whole number of at least 1.');
  return Number(text);
}

export function parsePort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535)
    throw new InvalidArgumentError('expected a port: a whole number up to 65535.');
  return Number(text);
}

/** A finite number above 0. */
export function parsePositive(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value > 0 && Number.isFinite(value)))
    throw new InvalidArgumentError('expected a number above 0.');
  return value;
}

function parseAmount(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && Number.isFinite(value)))
    throw new InvalidArgumentError('expected a number of at least 0.');
  return value;
}

export interface RunsOptions {
  readonly runsDir: string;
}

/** Adds `--runs-dir`: the parent of the run folders. */
export function addRunsOption(command: Command): Command {
  return command.addOption(
    new Option('--runs-dir <folder>', 'folder that holds the runs').env('FLOODGATE_RUNS').default(DEFAULT_RUNS_FOLDER),
  );
}

export interface SetOptions {
  readonly set: readonly string[];
}

/** Adds `--set a.b=value`, repeatable. */
export function addSetOption(command: Command): Command {
  return command.option(
    '--set <key=value>',
    'override one config key, e.g. gflownet.updates=50; may be repeated',
    (value: string, earlier: readonly string[]) => [...earlier, value],
    [] as readonly string[],
  );
}

/** `--seed`, for commands that draw. */
export function seedOption(): Option {
  return new Option('--seed <number>', 'seed of every random draw').argParser(parseCount);
}

export interface CallOptions {
  readonly budget: readonly string[];
  /** False: every call is made again. */
  readonly cache: boolean;
}

/** Adds `--budget CAP=NUMBER`, repeatable, and `--no-cache`. */
export function addCallOptions(command: Command): Command {
  return command
    .option(
      '--budget <cap=number>',
      'a hard cap: targetCalls, judgeCalls, tokens, money or hours over the whole run; may be repeated',
      (value: string, earlier: readonly string[]) => [...earlier, value],
      [] as readonly string[],
    )
    .option('--no-cache', 'ask again, also where the log of the run has an answer');
}

export interface WorldOptions {
  /** Absent: the first world that is admitted, from the default seed on. */
  readonly worldSeed?: number;
  readonly keys: number;
  readonly noise: number;
  readonly hardness: number;
}

/** Adds the options that choose a synthetic world. */
export function addWorldOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--world-seed <number>',
        `another seed is another world (default: ${DEFAULT_WORLD.seed}, 100 more while it is refused)`,
      ).argParser(parseCount),
    )
    .addOption(
      new Option('--keys <count>', 'planted keys, a multiple of 24').argParser(parseCount).default(DEFAULT_WORLD.keys),
    )
    .addOption(new Option('--noise <logits>', 'noise of the judge').argParser(parseAmount).default(DEFAULT_WORLD.noise))
    .addOption(
      new Option('--hardness <number>', 'how little the commonest keys leak: 1 - 0.4 x hardness')
        .argParser(parseAmount)
        .default(DEFAULT_WORLD.hardness),
    );
}
