import type { Command } from 'commander';
import type { CliContext } from '../src/cli/context.ts';

/** An experiment of the project's own: `npm run lab -- NAME`. */
export interface Experiment {
  readonly name: string;
  /** One line of the list. */
  readonly description: string;
  /** Adds arguments, options, examples and the action to the experiment's command. */
  define(command: Command, context: CliContext): Command;
}

/** How a reader starts the lab, in help and messages. */
export const LAB = 'npm run lab --';

/** The help text's examples, one a line. */
export function examples(...lines: readonly string[]): string {
  return ['', 'Examples:', ...lines.map((line) => `  ${LAB} ${line}`)].join('\n');
}
