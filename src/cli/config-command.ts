import type { Command } from 'commander';
import { UNPRINTABLE } from '../base/unprintable.ts';
import { yaml } from '../base/yaml.ts';
import { loadConfig } from '../stages/campaign/config-load.ts';
import { configJsonSchema, configReference } from '../stages/campaign/config-schema.ts';
import { printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import type { CliContext } from './context.ts';
import { addSetOption, type SetOptions } from './options.ts';

function yamlEscape(character: string): string {
  const code = (character.codePointAt(0) as number).toString(16);
  return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\U${code.padStart(8, '0')}`;
}

/** YAML that reads back as `value`; a text with unprintable characters is quoted, and they are escapes in it. */
function printableYaml(value: unknown): string {
  const document = new (yaml().Document)(value);
  yaml().visit(document, {
    Scalar: (_key, scalar) => {
      const { value: text } = scalar;
      if (typeof text === 'string' && text.replaceAll('\n', '').search(UNPRINTABLE) >= 0) scalar.type = 'QUOTE_DOUBLE';
    },
  });
  const written = document.toString({ lineWidth: 0 }).trimEnd();
  return written.replace(UNPRINTABLE, (character) => (character === '\n' ? character : yamlEscape(character)));
}

/** Adds `floodgate config show` and `floodgate config schema`. */
export function registerConfigCommand(program: Command, context: CliContext): void {
  const config = program.command('config').description(COMMAND_WORDS.config);

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
      printResult(context, { text: printableYaml(resolved), json: resolved });
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
