import { UNPRINTABLE, visibleEscape } from '../base/unprintable.ts';
import type { ExportSource } from './export-source.ts';

/** A text of a model as code on one line: no markup, no mention and no link, also inside a table. */
export function codeSpan(text: string): string {
  const visible = text.replace(UNPRINTABLE, (character) => (character === '\n' ? '\\n' : visibleEscape(character)));
  const runs = visible.match(/`+/g) ?? [];
  const fence = '`'.repeat(1 + runs.reduce((longest, run) => Math.max(longest, run.length), 0));
  const padded = visible === '' || /^[` ]|[` ]$/.test(visible) ? ` ${visible} ` : visible;
  return `${fence}${padded.replaceAll('|', '\\|')}${fence}`;
}

/** A table of cells that are Markdown already. */
export function markdownTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(heading), line(heading.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Where an export comes from. */
export function runTable({ provenance, report }: ExportSource): string {
  const { run, createdAt, seed, configSha256, floodgate } = provenance;
  return markdownTable(
    ['', ''],
    [
      ['run', codeSpan(run)],
      ['begun', createdAt],
      ['seed', String(seed)],
      ['config sha256', `\`${configSha256}\``],
      ['Floodgate', codeSpan(floodgate)],
      ['reward by', codeSpan(report.run.trainingJudge)],
      ['figures by', codeSpan(report.run.reportedJudge)],
    ],
  );
}
