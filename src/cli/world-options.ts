import { type Command, InvalidArgumentError, Option } from 'commander';
import { DEFAULT_WORLD } from '../worlds/world-spec.ts';
import { parseCount } from './parse-count.ts';

export interface WorldOptions {
  readonly worldSeed: number;
  readonly keys: number;
  readonly noise: number;
  readonly hardness: number;
}

function parseAmount(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && Number.isFinite(value)))
    throw new InvalidArgumentError('expected a number of at least 0.');
  return value;
}

/** Adds the options that choose a world of the proving ground. */
export function addWorldOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--world-seed <number>', 'another seed is another world')
        .argParser(parseCount)
        .default(DEFAULT_WORLD.seed),
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
