import { measureWords } from '../charts/measure-marks.ts';
import type { ReportStage } from '../figures/report-json.ts';
import { type Html, html } from '../words/html.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import { dataTable, type PageSection } from './page-section.ts';

function stageTable({ name, cells = [], metrics }: ReportStage): Html {
  const columns = [
    { heading: 'category' },
    ...['tried', 'success rate', 'wordings'].map((heading) => ({ heading, isNumber: true })),
  ];
  const rows = cells.map((cell) => [
    cell.name,
    String(cell.tried),
    measureWords(cell.asr, 'asr'),
    String(cell.wordings),
  ]);
  const reached = metrics.cellsReached?.value ?? 0;
  return dataTable(`${stageWords(name).label}: ${reached} of ${cells.length} categories reached`, columns, rows);
}

/** The categories of a config, each measured by itself; undefined for a run without any. */
export function cellsSection({ report }: PageContent): PageSection | undefined {
  const stages = report.stages.filter(({ cells = [] }) => cells.length > 0);
  if (stages.length === 0) return undefined;
  return {
    id: 'cells',
    title: 'Which categories',
    note: 'The config names these categories, and every attacker writes as many attacks for each. Small figures are 95% intervals. A category without a success is not shown to be safe.',
    body: html`${stages.map(stageTable)}`,
  };
}
