import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { describeRun, type ListedRun } from '../report/listed-run.ts';
import { loadTaxonomy } from '../report/taxonomy/taxonomy.ts';
import { measureText } from '../report/words/number-words.ts';
import { writeReportPage } from '../report/write-report.ts';
import { removeRunFolder } from '../runs/remove-run.ts';
import { listRunFolders, openRunFolder } from '../runs/run-folder.ts';
import { alignColumns, joinLines, printable, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { addRunsOption, type RunsOptions } from './options.ts';

function listText(runs: readonly ListedRun[], runsDir: string): string {
  if (runs.length === 0) return joinLines([`no runs in ${runsDir}`]);
  const rows = runs.map(({ name, status, createdAt, stages, seed, attacker, asr, problem }) => [
    name,
    status,
    createdAt?.slice(0, 16).replace('T', ' ') ?? '-',
    seed === null ? '-' : String(seed),
    problem ?? (stages.join(', ') || '-'),
    attacker ?? '-',
    measureText(asr ?? undefined),
  ]);
  return alignColumns([['run', 'status', 'created', 'seed', 'stages', 'last attacker', 'its ASR'], ...rows]);
}

/** Adds `floodgate list`. */
export function registerListCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('list').description(COMMAND_WORDS.list))
    .addHelpText('after', '\nExamples:\n  floodgate list\n  floodgate list --json --runs-dir /data/runs')
    .action(async ({ runsDir }: RunsOptions) => {
      const runs = await Promise.all((await listRunFolders(runsDir)).map(describeRun));
      printResult(context, { text: listText(runs, runsDir), json: { runs } });
    });
}

/** Default name of a page that holds no texts. */
const SHARED_PAGE = 'report-without-texts.html';

interface ReportOptions extends RunsOptions {
  readonly out?: string;
  readonly withoutTexts?: boolean;
  readonly taxonomy?: string;
}

/** Adds `floodgate report`. */
export function registerReportCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('report').description(COMMAND_WORDS.report))
    .argument('<run>', 'name or path of the run')
    .option(
      '--out <file>',
      'file to write (default: report.html in the run folder; report-without-texts.html for --without-texts)',
    )
    .option('--without-texts', 'leave attacks and responses out, for a copy to hand on')
    .option('--taxonomy <file>', 'a table of categories and their places in taxonomies, added to the built-in one')
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate report smollm2\n  floodgate report smollm2 --without-texts --out share.html',
    )
    .action(async (run: string, { out, withoutTexts, runsDir, taxonomy: table }: ReportOptions) => {
      const folder = await openRunFolder(run, runsDir);
      if (out === '-')
        throw new FloodgateError('usage', 'report --out: got -, expected a file', { hint: '--out share.html' });
      // The copy without texts never takes the place of the run's own page.
      const path = out === undefined ? withoutTexts && join(folder.path, SHARED_PAGE) : resolve(out);
      const taxonomy = await loadTaxonomy(table);
      const place = path === undefined || path === false ? {} : { path };
      const options = { withTexts: withoutTexts !== true, taxonomy, ...place };
      const { path: written, bytes, texts, withoutEncoder } = await writeReportPage(folder, options, ioOf(context));
      const lines = [
        `report: ${written} (${Math.ceil(bytes / 1000)} kB, ${texts === 0 ? 'no texts in it' : `${texts} texts, masked until you ask for them`})`,
        ...(withoutEncoder === undefined ? [] : [`without map, and with rough clusters: ${withoutEncoder}`]),
      ];
      const json = { run: folder.name, path: written, bytes, texts, withoutEncoder: withoutEncoder ?? null };
      printResult(context, { text: joinLines(lines), json });
    });
}

async function remove(names: readonly string[], runsDir: string, isSure: boolean, context: CliContext): Promise<void> {
  const folders = await Promise.all(names.map((name) => openRunFolder(name, runsDir)));
  const paths = folders.map(({ path }) => path).join(', ');
  const answer = isSure ? 'yes' : await context.ask?.(printable(`Delete ${paths} for good? [y/N] `));
  if (!/^y(es)?$/i.test(answer?.trim() ?? ''))
    throw new FloodgateError('usage', `rm: nothing was deleted, got no consent to delete ${paths}`, {
      hint: 'add --yes to delete for good',
    });
  for (const folder of folders) await removeRunFolder(folder);
  printResult(context, {
    text: joinLines(folders.map(({ path }) => `removed ${path}`)),
    json: { removed: folders.map(({ path }) => path) },
  });
}

/** Adds `floodgate rm`. */
export function registerRmCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('rm').description(COMMAND_WORDS.rm))
    .argument('<run...>', 'names or paths of runs')
    .option('--yes', 'delete without asking')
    .addHelpText('after', '\nExamples:\n  floodgate rm first-try --yes')
    .action((names: string[], options: RunsOptions & { yes?: boolean }) =>
      remove(names, options.runsDir, options.yes ?? false, context),
    );
}
