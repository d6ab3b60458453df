import type { Command } from 'commander';
import { stringify } from 'yaml';
import { loadConfig } from '../stages/config/config-load.ts';
import { configReference } from '../stages/config/config-reference.ts';
import { configJsonSchema } from '../stages/config/config-schema.ts';
import { printResult } from './command-result.ts';
import { addSetOption, type SetOptions } from './common-options.ts';
import type { CliContext } from './context.ts';

/** Adds `floodgate config show` and `floodgate config schema`. */
export function registerConfigCommand(program: Command, context: CliContext): void {
  const config = program.command('config').description('check and explain config files');

  addSetOption(
    config
      .command('show')
      .description('check a config and print it with every default filled in')
      .argument('<file>', 'config file'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate config show run.yaml\n  floodgate config show run.yaml --set seed=3',
    )
    .action(async (file: string, { set }: SetOptions) => {
      const resolved = await loadConfig(file, set);
      printResult(context, { text: stringify(resolved, { lineWidth: 0 }).trimEnd(), json: resolved });
    });

  config
    .command('schema')
    .description('print the JSON Schema of config files')
    .option('--markdown', 'a table of every key instead')
    .addHelpText('after', '\nExamples:\n  floodgate config schema > floodgate.schema.json')
    .action(({ markdown }: { markdown?: boolean }) => {
      const schema = configJsonSchema();
      printResult(context, { text: markdown ? configReference() : JSON.stringify(schema, null, 2), json: schema });
    });
}
