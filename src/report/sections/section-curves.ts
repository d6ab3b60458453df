import { maxOf } from '../../base/long-lists.ts';
import { type CurveChart, chartOf } from '../charts/curve-chart.ts';
import { type Curve, MAIN_CURVES, MAX_SMOOTHED_POINTS, type StageCurves } from '../figures/learning-curves.ts';
import { type Html, html } from '../words/html.ts';
import { counted } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';

function axes({ rows, columns }: CurveChart): Html {
  return html`<g aria-hidden="true">${rows.map(
    ({ from, to, y, text }) =>
      html`<line class="grid" x1="${from}" x2="${to}" y1="${y}" y2="${y}"/><text class="tick" x="${text.x}" y="${text.y}" text-anchor="end">${text.text}</text>`,
  )}${columns.map(
    ({ x, y, text }) => html`<text class="tick" x="${x}" y="${y}" text-anchor="middle">${text}</text>`,
  )}</g>`;
}

function lineChart(chart: CurveChart): Html {
  const { label, meaning, spoken, width, height, paths, dots } = chart;
  return html`<figure class="chart">
<figcaption><strong>${label}</strong> <span>${meaning}</span></figcaption>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${spoken}">${axes(chart)}${paths.map(({ style, d }) => html`<path class="${style}" d="${d}"/>`)}${dots.map(({ x, y }) => html`<circle class="dot" cx="${x}" cy="${y}" r="3.5"/>`)}</svg>
</figure>`;
}

/** How old the attacks were that workers drew, in a line; nothing where none did. */
function lagLine(curves: readonly Curve[]): Html | string {
  const points = curves.find(({ metric }) => metric === 'searchLag')?.points ?? [];
  if (points.length === 0) return '';
  const mean = points.reduce((sum, { value }) => sum + value, 0) / points.length;
  const most = maxOf(points.map(({ value }) => value));
  return html`<p class="quiet">Workers wrote its attacks, with an attacker that was at most ${counted(most, 'update')} old, ${mean.toFixed(1)} on average.</p>`;
}

function stageFigures({ stage, updates, curves }: StageCurves) {
  const isMain = (metric: string): boolean => MAIN_CURVES.includes(metric);
  const others = curves.filter(({ metric }) => !isMain(metric));
  const { label, explain } = stageWords(stage);
  return html`<div class="stage-curves"><h3>${label} <span class="quiet">${counted(updates, 'update')}</span></h3><p class="quiet">${explain}</p>${lagLine(curves)}
<div class="charts">${curves.filter(({ metric }) => isMain(metric)).map((curve) => lineChart(chartOf(curve, updates)))}</div>
${others.length === 0 ? '' : html`<details><summary>${counted(others.length, 'more curve')}</summary><div class="charts">${others.map((curve) => lineChart(chartOf(curve, updates)))}</div></details>`}</div>`;
}

/** Learning curves of every stage that learns; undefined when no stage learns. */
export function curvesSection({ curves }: PageContent): PageSection | undefined {
  if (curves.length === 0) return undefined;
  const isThinned = curves.some(({ updates }) => updates > MAX_SMOOTHED_POINTS);
  const thinned = ` Stages of more than ${MAX_SMOOTHED_POINTS.toLocaleString('en-US')} updates: neighbours are averaged first.`;
  return {
    id: 'learning',
    title: 'How it learnt',
    note:
      'One update is one step of training. Faint: each update. Bold: the mean of its neighbours. Dots: measured now and then, on texts that training never used.' +
      (isThinned ? thinned : ''),
    body: html`${curves.map(stageFigures)}`,
  };
}
