import { access } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { printResult } from './command-result.ts';
import type { CliContext } from './context.ts';
import { CONFIG_TEMPLATE, SEEDS_TEMPLATE } from './init-template.ts';

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function initialise(file: string, force: boolean, context: CliContext): Promise<void> {
  const configPath = resolve(file);
  const seedsName = `${basename(configPath, extname(configPath))}-seeds.txt`;
  const seedsPath = join(dirname(configPath), seedsName);
  for (const path of [configPath, seedsPath]) {
    if (!force && (await exists(path)))
      throw new FloodgateError('usage', `init: ${path} exists already`, {
        hint: 'name another file, or --force to overwrite it',
      });
  }
  await writeFileAtomically(seedsPath, (handle) => handle.writeFile(SEEDS_TEMPLATE));
  await writeFileAtomically(configPath, (handle) => handle.writeFile(CONFIG_TEMPLATE.replace('SEEDS', seedsName)));
  printResult(context, {
    text: `wrote ${configPath}\nwrote ${seedsPath}\nnext: floodgate run ${file} --dry-run`,
    json: { config: configPath, seeds: seedsPath },
  });
}

/** Adds `floodgate init`. */
export function registerInitCommand(program: Command, context: CliContext): void {
  program
    .command('init')
    .description('write a config and a few seeds to start from')
    .argument('[file]', 'config file to write', 'floodgate.yaml')
    .option('--force', 'overwrite what is there')
    .addHelpText('after', '\nExamples:\n  floodgate init\n  floodgate init tests/chatbot.yaml')
    .action((file: string, options: { force?: boolean }) => initialise(file, options.force ?? false, context));
}
