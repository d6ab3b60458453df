import { maxOf } from '../../base/long-lists.ts';
import { heatCell } from '../charts/measure-marks.ts';
import { type TransferMeasure, type TransferReport, transferCell } from '../figures/transfer-report.ts';
import { type Html, html } from '../words/html.ts';
import { metricWords } from '../words/metric-words.ts';
import { counted } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import { dataTable, type PageSection } from './page-section.ts';

function figureOf(
  transfer: TransferReport,
  at: { readonly attacker: string; readonly target: string },
  { judge, metric }: { readonly judge: string; readonly metric: string },
): TransferMeasure | undefined {
  const cell = transferCell(transfer, at.attacker, at.target);
  if (cell?.status !== 'done') return undefined;
  return cell.judges.find(({ name }) => name === judge)?.metrics[metric];
}

function heatMap(transfer: TransferReport, judge: string, metric: string): Html {
  const { form, label } = metricWords(metric);
  const { attackers, targets } = transfer;
  const figures = attackers.map((attacker) =>
    targets.map(({ name }) => figureOf(transfer, { attacker, target: name }, { judge, metric })),
  );
  const most = form === 'share' ? 1 : maxOf([0, ...figures.flat().map((figure) => figure?.value ?? 0)]);
  const columns = [{ heading: 'Attacker' }, ...targets.map(({ name }) => ({ heading: name, isNumber: true }))];
  const rows = attackers.map((attacker, i) => [
    html`${stageWords(attacker).label}<span class="quiet">${attacker}</span>`,
    ...(figures[i] ?? []).map((figure) => heatCell(figure, form, most)),
  ]);
  return html`<div class="wide" role="region" aria-label="${label} by ${judge}" tabindex="0">${dataTable(`${label}, by the judge ${judge}. Darker is more.`, columns, rows)}</div>`;
}

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

function judgeMaps(transfer: TransferReport, judge: string): Html {
  const known = (metric: string): boolean =>
    transfer.cells.some(({ judges }) =>
      judges.some(({ name, metrics }) => name === judge && metrics[metric] !== undefined),
    );
  return html`${['asr', 'uniqueAttacks', 'transferRate', 'exactAsr', 'exactTransferRate'].filter(known).map((metric) => heatMap(transfer, judge, metric))}`;
}

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
