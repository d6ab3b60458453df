import { createLabProgram } from '../../lab/registry.ts';
import { type CliOutcome, cli } from '../cli/cli-runner.ts';

/** Runs one command line of the lab in this process and gives back all that it wrote. */
export function lab(args: readonly string[]): Promise<CliOutcome> {
  return cli(args, {}, createLabProgram);
}
