import { relative, resolve } from 'node:path';
import type { Command } from 'commander';
import type { AttackerCard } from '../exports/attacker-card.ts';
import { exportAttacker } from '../exports/export-attacker.ts';
import { cardOf, importAttacker } from '../exports/import-attacker.ts';
import { measureText } from '../report/words/number-words.ts';
import {
  type AttackerFile,
  type AttackerFolder,
  listAttackerFolders,
  readAttackerFile,
} from '../runs/attacker-folder.ts';
import { removeAttacker } from '../runs/remove-attacker.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import { alignColumns, type CommandResult, joinLines, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { addRunsOption, type RunsOptions } from './options.ts';

interface ExportOptions extends RunsOptions {
  readonly stage?: string;
  readonly out?: string;
}

interface ImportOptions extends RunsOptions {
  readonly name?: string;
  readonly base?: string;
}

/** Adds `floodgate attacker export|import|list|rm`. */
export function registerAttackerCommand(program: Command, context: CliContext): void {
  const attacker = program
    .command('attacker')
    .description(COMMAND_WORDS.attacker)
    .addHelpText(
      'after',
      `
Examples:
  floodgate attacker export first --out ./first-attacker
  floodgate attacker import ./first-attacker --name colleagues
  floodgate serve attacker:colleagues
  floodgate run floodgate.yaml --set attacker.from=attacker:colleagues`,
    );
  addExport(attacker, context);
  addImport(attacker, context);
  addList(attacker, context);
  addRm(attacker, context);
}

const shortPath = (path: string): string => {
  const near = relative('', path);
  return near === '' || near.startsWith('..') ? path : near;
};

/** The success rate of a card in words. */
function rateText({ figures }: AttackerCard): string {
  return figures.asr === undefined ? 'not evaluated' : `success rate ${measureText(figures.asr)}`;
}

async function exportFrom(name: string, options: ExportOptions, context: CliContext): Promise<CommandResult> {
  const folder = await openRunFolder(name, options.runsDir);
  const path = resolve(options.out ?? `${folder.name}-attacker`);
  context.begin(
    `attacker export: ${folder.name} -> ${shortPath(path)}; Ctrl-C stops it and leaves nothing`,
    context.commandLine,
  );
  const { run, stage, attacker, card } = await exportAttacker(folder, { path, stage: options.stage }, ioOf(context));
  const { sha256 } = attacker.adapter;
  const lines = [
    `attacker export: ${shortPath(path)}, stage ${stage} of ${run}; ${rateText(card)}`,
    `adapter sha256 ${sha256}`,
    'it holds no text of an attack; README.md is its card',
  ];
  return { text: joinLines(lines), json: { run, stage, path, adapterSha256: sha256, card } };
}

function addExport(attacker: Command, context: CliContext): void {
  addRunsOption(
    attacker.command('export').description('write the attacker of a run as a PEFT adapter with a card of its figures'),
  )
    .argument('<run>', 'name or path of the run')
    .option('--stage <name>', 'stage that left the attacker (default: the last one done that leaves an adapter)')
    .option('--out <folder>', 'new folder (default: RUN-attacker)')
    .addHelpText(
      'after',
      `
The folder holds the adapter, README.md and floodgate-attacker.json: data, calls, judges, figures with intervals, licence
of the base, intended use. It holds no text of an attack and no path of this machine.

Examples:
  floodgate attacker export first
  floodgate attacker export first --stage gflownet --out ./first-gflownet --json`,
    )
    .action(async (run: string, options: ExportOptions) =>
      printResult(context, await exportFrom(run, options, context)),
    );
}

async function importFrom(folder: string, options: ImportOptions, context: CliContext): Promise<CommandResult> {
  const { runsDir: runsFolder, name: wanted, base: local } = options;
  context.begin(
    `attacker import: ${shortPath(resolve(folder))} -> ${runsFolder}; every hash is checked, Ctrl-C stops it`,
    context.commandLine,
  );
  const imported = await importAttacker({ folder, runsFolder, name: wanted, base: local }, ioOf(context));
  const { name, path, attacker, card, base, warnings } = imported;
  for (const warning of warnings) context.notify(`warning: ${warning}`);
  const lines = [
    `attacker import: attacker:${name}, stage ${attacker.stage} of run ${attacker.name}; ${rateText(card)}`,
    `base ${base}`,
    `floodgate serve attacker:${name} serves it; attacker: { from: attacker:${name} } starts a run from it`,
  ];
  return {
    text: joinLines(lines),
    json: { name, path, run: attacker.name, stage: attacker.stage, base, adapter: attacker.adapter, warnings, card },
  };
}

function addImport(attacker: Command, context: CliContext): void {
  addRunsOption(attacker.command('import').description('check an exported attacker and store it with the runs'))
    .argument('<folder>', 'folder that "floodgate attacker export" wrote')
    .option('--name <name>', 'name of the attacker here (default: the run that trained it)')
    .option('--base <spec>', "this machine's copy of its base (default: as the attacker names it)")
    .addHelpText(
      'after',
      `
Every hash must be right, and the base must be the one that the attacker was trained on. Nothing is fetched:
floodgate models pull gets a base that is missing.

Examples:
  floodgate attacker import ./first-attacker
  floodgate attacker import ./first-attacker --name colleagues --base ./smollm2.gguf`,
    )
    .action(async (folder: string, options: ImportOptions) =>
      printResult(context, await importFrom(folder, options, context)),
    );
}

interface ListedAttacker {
  readonly name: string;
  readonly attacker?: AttackerFile;
  readonly card?: AttackerCard;
  readonly problem?: string;
}

/** Never fails: an attacker that cannot be read is listed with the reason. */
async function describeAttacker(folder: AttackerFolder): Promise<ListedAttacker> {
  try {
    const attacker = await readAttackerFile(folder);
    return { name: folder.name, attacker, card: cardOf(folder, attacker) };
  } catch (error) {
    return { name: folder.name, problem: error instanceof Error ? error.message : String(error) };
  }
}

function listRow({ name, attacker, card, problem }: ListedAttacker): string[] {
  if (attacker === undefined || card === undefined) return [name, `unreadable: ${problem}`, '', '', ''];
  return [name, `${attacker.name}/${attacker.stage}`, attacker.base.spec, card.target.name, rateText(card)];
}

function listJson({ name, attacker, card, problem }: ListedAttacker): object {
  if (attacker === undefined || card === undefined) return { name, problem };
  const { name: run, stage, base, adapter } = attacker;
  return { name, run, stage, base, adapter, target: card.target, asr: card.figures.asr ?? null };
}

function addList(attacker: Command, context: CliContext): void {
  addRunsOption(attacker.command('list').description('list the imported attackers'))
    .addHelpText('after', '\nExamples:\n  floodgate attacker list\n  floodgate attacker list --json')
    .action(async ({ runsDir }: RunsOptions) => {
      const listed = await Promise.all((await listAttackerFolders(runsDir)).map(describeAttacker));
      const heading = ['NAME', 'RUN', 'BASE', 'TARGET', 'MEASURED'];
      const text = listed.length === 0 ? 'no imported attackers' : alignColumns([heading, ...listed.map(listRow)]);
      printResult(context, { text, json: { attackers: listed.map(listJson) } });
    });
}

function addRm(attacker: Command, context: CliContext): void {
  addRunsOption(attacker.command('rm').description('remove an imported attacker'))
    .argument('<name>', 'its name')
    .addHelpText('after', '\nExamples:\n  floodgate attacker rm colleagues')
    .action(async (name: string, { runsDir }: RunsOptions) => {
      const removed = await removeAttacker(name, runsDir);
      printResult(context, { text: `removed attacker:${removed}`, json: { removed } });
    });
}
