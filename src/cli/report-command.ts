import { resolve } from 'node:path';
import type { Command } from 'commander';
import { writeReportPage } from '../report/write-report-page.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import { printResult } from './command-result.ts';
import { addRunsOption, type RunsOptions } from './common-options.ts';
import type { CliContext } from './context.ts';

interface ReportOptions extends RunsOptions {
  readonly out?: string;
  /** False under `--without-texts`. */
  readonly withoutTexts?: boolean;
}

/** Adds `floodgate report`. */
export function registerReportCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('report').description('write what a run found as one HTML file to read in a browser'))
    .argument('<run>', 'name or path of the run')
    .option('--out <file>', 'file to write (default: report.html in the run folder)')
    .option('--without-texts', 'leave attacks and responses out, for a copy to hand on')
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate report smollm2\n  floodgate report smollm2 --without-texts --out share.html',
    )
    .action(async (run: string, { out, withoutTexts, runsDir }: ReportOptions) => {
      const folder = await openRunFolder(run, runsDir);
      const options = { withTexts: withoutTexts !== true, ...(out === undefined ? {} : { path: resolve(out) }) };
      const { path, bytes, texts, withoutEncoder } = await writeReportPage(folder, options, context);
      const lines = [
        `report: ${path} (${Math.ceil(bytes / 1000)} kB, ${texts === 0 ? 'no texts in it' : `${texts} texts, masked until you ask for them`})`,
        ...(withoutEncoder === undefined ? [] : [`without map, and with rough clusters: ${withoutEncoder}`]),
      ];
      const json = { run: folder.name, path, bytes, texts, withoutEncoder: withoutEncoder ?? null };
      printResult(context, { text: lines.join('\n'), json });
    });
}
