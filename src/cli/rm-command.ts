import type { Command } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { openRunFolder, removeRunFolder } from '../runs/run-folder.ts';
import { printResult } from './command-result.ts';
import { addRunsOption, type RunsOptions } from './common-options.ts';
import type { CliContext } from './context.ts';

async function remove(names: readonly string[], runsDir: string, isSure: boolean, context: CliContext): Promise<void> {
  const folders = await Promise.all(names.map((name) => openRunFolder(name, runsDir)));
  if (!isSure)
    throw new FloodgateError('usage', `rm: would delete ${folders.map(({ path }) => path).join(', ')}`, {
      hint: 'add --yes to delete for good',
    });
  for (const folder of folders) await removeRunFolder(folder);
  printResult(context, {
    text: folders.map(({ path }) => `removed ${path}`).join('\n'),
    json: { removed: folders.map(({ path }) => path) },
  });
}

/** Adds `floodgate rm`. */
export function registerRmCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('rm').description('delete runs with everything in them'))
    .argument('<run...>', 'names or paths of runs')
    .option('--yes', 'delete without asking')
    .addHelpText('after', '\nExamples:\n  floodgate rm first-try --yes')
    .action((names: string[], options: RunsOptions & { yes?: boolean }) =>
      remove(names, options.runsDir, options.yes ?? false, context),
    );
}
