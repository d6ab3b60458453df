import { once } from 'node:events';
import type { Command } from 'commander';
import { viewRuns } from '../view/view-server.ts';
import { openViewedRuns } from '../view/viewed-runs.ts';
import { printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import type { CliContext } from './context.ts';
import { addRunsOption, parsePort, type RunsOptions } from './options.ts';

interface ViewCommandOptions extends RunsOptions {
  readonly port: number;
}

async function view(names: readonly string[], options: ViewCommandOptions, context: CliContext): Promise<void> {
  const runs = await openViewedRuns(names, options.runsDir);
  const [, cli] = process.argv;
  const log = (line: string): void => context.notify(line);
  const server = await viewRuns(runs, { port: options.port, log, ...(cli === undefined ? {} : { cli }) });
  const { url } = server;
  printResult(context, { text: `open ${url}\nCtrl-C stops it`, json: { url } });
  if (!context.signal.aborted) await once(context.signal, 'abort');
  await server.close();
}

/** Adds `floodgate view`. */
export function registerViewCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('view').description(COMMAND_WORDS.view))
    .argument('[run...]', 'names or paths of runs (default: all of the folder)')
    .option('--port <number>', 'port on 127.0.0.1; 0 takes any free one', parsePort, 0)
    .addHelpText(
      'after',
      `
Prints one address with a token; nobody without it, and nobody outside this machine, sees anything. Texts are hidden
until you ask for them. Labels that you give are written beside a run, and nothing into it.

Examples:
  floodgate view
  floodgate view first second --port 8900`,
    )
    .action((names: string[], options: ViewCommandOptions) => view(names, options, context));
}
