import { transferGrids } from '../charts/heat-grids.ts';
import type { TransferReport } from '../figures/transfer-report.ts';
import { type Html, html } from '../words/html.ts';
import { counted } from '../words/number-words.ts';
import { heatMap } from './heat-map.ts';
import type { PageContent } from './page-content.ts';
import { dataTable, type PageSection } from './page-section.ts';

function targetTable({ targets }: TransferReport): Html {
  const rows = targets.map((target) => {
    const { decode, divergence, layers, ofLayers, shared } = target;
    const notes = [
      ...(layers !== null && ofLayers !== null && layers < ofLayers ? [`first ${layers} of ${ofLayers} layers`] : []),
      ...(target.precision === 'int8' ? ['int8'] : []),
      ...(divergence === null ? [] : [`${divergence.klPerToken.toFixed(3)} nats a token from fp32`]),
      ...(shared === null ? [] : [`${shared.kept} of ${counted(shared.keys, 'key')} shared`]),
      ...(target.template === 'plain' ? ['asked as plain text'] : []),
      ...target.warnings,
    ];
    return [
      target.name,
      target.model,
      target.systemPrompt === null ? '' : html`<span class="setting">${target.systemPrompt}</span>`,
      `temperature ${decode.temperature}, top-p ${decode.topP}, at most ${counted(decode.maxNewTokens, 'token')}, ${counted(target.responses, 'response')} each`,
      notes.join('; '),
    ];
  });
  const columns = ['Target', 'Model', 'System prompt', 'Sampling', 'Notes'].map((heading) => ({ heading }));
  return html`<details><summary>What the targets are</summary><div class="wide" role="region" aria-label="What the targets are" tabindex="0">${dataTable('Further targets.', columns, rows)}</div></details>`;
}

const judgeMaps = (transfer: TransferReport, judge: string): Html =>
  html`${transferGrids(transfer, judge).map(heatMap)}`;

/** Success of the attacks on other targets; undefined where none were tried. */
export function transferSection({ report }: PageContent): PageSection | undefined {
  const { transfer } = report;
  if (transfer === undefined) return undefined;
  const names = [...new Set(transfer.cells.flatMap(({ judges }) => judges.map(({ name }) => name)))];
  const others = names.filter((name) => name !== report.run.reportedJudge);
  const more = others.map(
    (judge) => html`<details><summary>The same by the judge ${judge}</summary>${judgeMaps(transfer, judge)}</details>`,
  );
  return {
    id: 'transfer',
    title: 'Do they work elsewhere?',
    note: 'The attacks found against this target, put word for word to others. Small figures are 95% intervals.',
    body: html`${judgeMaps(transfer, report.run.reportedJudge)}${more}${targetTable(transfer)}`,
  };
}
