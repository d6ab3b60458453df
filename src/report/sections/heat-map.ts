import type { HeatCell, HeatGrid } from '../charts/heat-grids.ts';
import { heatCell } from '../charts/measure-marks.ts';
import { type Html, html } from '../words/html.ts';
import { stageWords } from '../words/stage-words.ts';
import { dataTable } from './page-section.ts';

const quiet = (words: string | undefined): Html | string =>
  words === undefined ? '' : html`<span class="quiet">${words}</span>`;

function cellWords({ measure, note, instead }: HeatCell, { form, most }: HeatGrid): Html | string {
  return instead === undefined ? html`${heatCell(measure, form, most)}${quiet(note)}` : quiet(instead);
}

/** A grid as a table with its numbers in shaded cells. */
export function heatMap(grid: HeatGrid): Html {
  const { what, judge } = grid;
  const columns = [{ heading: 'Attacker' }, ...grid.columns.map((heading) => ({ heading, isNumber: true }))];
  const rows = grid.rows.map(({ attacker, cells }) => [
    html`${stageWords(attacker).label}${quiet(attacker)}`,
    ...cells.map((cell) => cellWords(cell, grid)),
  ]);
  return html`<div class="wide" role="region" aria-label="${what} by ${judge}" tabindex="0">${dataTable(`${what}, by the judge ${judge}. Darker is more.`, columns, rows)}</div>`;
}
