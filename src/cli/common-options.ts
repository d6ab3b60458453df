import { type Command, Option } from 'commander';
import { DEFAULT_RUNS_FOLDER } from '../runs/run-folder.ts';

export interface RunsOptions {
  readonly runsDir: string;
}

/** Adds `--runs-dir`: where run folders lie. */
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
