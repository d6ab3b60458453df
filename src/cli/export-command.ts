import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { maxOf } from '../base/long-lists.ts';
import { TEXT_WORDS, type TextMode } from '../exports/export-row.ts';
import { exportRun } from '../exports/export-run.ts';
import { exportFormats } from '../exports/registry.ts';
import { type Destination, needsPlace } from '../exports/write-export.ts';
import { counted } from '../report/words/number-words.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import { joinLines, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { addRunsOption, type RunsOptions } from './options.ts';

interface ExportOptions extends RunsOptions {
  readonly format: string;
  readonly out?: string;
  readonly force?: true;
  readonly stage?: readonly string[];
  readonly showAttacks?: true;
  readonly withoutTexts?: true;
  readonly taxonomy?: string;
  readonly licence?: string;
  readonly config?: string;
}

/** An identifier of a licence, as hubs of data sets have them. */
function parseLicence(text: string): string {
  if (!/^[a-z0-9][a-z0-9.+-]{0,63}$/i.test(text)) throw new InvalidArgumentError('expected an identifier like mit.');
  return text.toLowerCase();
}

function textMode({ showAttacks, withoutTexts }: ExportOptions): TextMode {
  if (showAttacks && withoutTexts)
    throw new FloodgateError('usage', 'export: got --show-attacks and --without-texts, expected one of them');
  if (withoutTexts) return 'left out';
  return showAttacks ? 'shown' : 'masked';
}

/** @throws FloodgateError `usage` where the format needs a file, or standard output already has the JSON of `--json`. */
function destinationOf({ format, out = '-', force }: ExportOptions, context: CliContext): Destination {
  if (out !== '-') return { kind: 'path', path: resolve(out), isReplaced: force === true };
  const found = exportFormats.get(format);
  if (found.kind !== 'text') throw needsPlace(found);
  if (context.json)
    throw new FloodgateError('usage', 'export --json: the export would go to standard output too, got no --out', {
      hint: '--out FILE says where the export goes',
    });
  return { kind: 'stream', write: context.writeFileText };
}

async function exportFrom(run: string, options: ExportOptions, context: CliContext): Promise<void> {
  const { format, stage: stages, taxonomy, licence, config } = options;
  const destination = destinationOf(options, context);
  const settings = { format, destination, texts: textMode(options), stages, taxonomy, licence, config };
  const folder = await openRunFolder(run, options.runsDir);
  const { attacks, bytes, texts, notes } = await exportRun(folder, settings, ioOf(context));
  const path = destination.kind === 'path' ? destination.path : null;
  const size = bytes === null ? '' : ` (${Math.ceil(bytes / 1000).toLocaleString('en-US')} kB)`;
  const lines = [
    `export: ${path ?? `run ${folder.name}`}${size}, ${format}, of ${counted(attacks, 'attack')}; ${TEXT_WORDS[texts]}`,
    ...notes,
  ];
  if (path === null) context.notify(joinLines(lines));
  else
    printResult(context, {
      text: joinLines(lines),
      json: { run: folder.name, path, format, attacks, bytes, texts, notes },
    });
}

/** Adds `floodgate export`. */
export function registerExportCommand(program: Command, context: CliContext): void {
  const formats = exportFormats.all();
  const width = maxOf(formats.map(({ name }) => name.length));
  const listed = formats.map(({ name, describe }) => `  ${name.padEnd(width)}  ${describe}`).join('\n');
  addRunsOption(program.command('export').description(COMMAND_WORDS.export))
    .argument('<run>', 'name or path of the run')
    .addOption(
      new Option('--format <name>', 'format of the export').choices(exportFormats.names()).makeOptionMandatory(),
    )
    .option('--out <path>', 'file or folder to write (default: standard output, for a format of text)')
    .option('--force', 'overwrite what is there')
    .option('--stage <name...>', 'only the attacks of these stages (default: all)')
    .option('--show-attacks', 'export attacks and answers as they are; they may be offensive or dangerous')
    .option('--without-texts', 'leave attacks and answers out')
    .option('--taxonomy <file>', 'a table of categories and their places in taxonomies, added to the built-in one')
    .option('--licence <id>', 'licence that a data set states, e.g. cc-by-4.0 (default: unknown)', parseLicence)
    .option('--config <file>', "config that SARIF results point at (default: the run's own config.yaml)")
    .addHelpText(
      'after',
      `
Texts that models wrote are masked unless --show-attacks is given: the number of their words is exported.
Names, settings and messages hold no path of this machine.

Formats:
${listed}

Examples:
  floodgate export smollm2 --format csv --out smollm2.csv
  floodgate export smollm2 --format jsonl --stage gflownet --show-attacks | head -1`,
    )
    .action((name: string, options: ExportOptions) => exportFrom(name, options, context));
}
