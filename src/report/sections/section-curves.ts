import { maxOf, minOf } from '../../base/long-lists.ts';
import { coordinate, linearScale, roundTicks, type Scale } from '../charts/svg-scale.ts';
import {
  type Curve,
  type CurvePoint,
  MAIN_CURVES,
  MAX_SMOOTHED_POINTS,
  type StageCurves,
  smoothCurve,
  thinCurve,
} from '../figures/learning-curves.ts';
import { type Html, html } from '../words/html.ts';
import { metricWords } from '../words/metric-words.ts';
import { counted, numberText } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';

const WIDTH = 320;
const HEIGHT = 170;
const EDGE = { left: 44, right: 10, top: 10, bottom: 24 };
const MAX_POINTS = 120;
/** The bold line is a mean over this share of the updates to either side. */
const SMOOTHING_SHARE = 0.04;

function pathOf(points: readonly CurvePoint[], x: Scale, y: Scale): string {
  return points
    .map(({ update, value }, i) => `${i === 0 ? 'M' : 'L'}${coordinate(x.place(update))} ${coordinate(y.place(value))}`)
    .join('');
}

function valueRange(curve: Curve): readonly [number, number] {
  const values = curve.points.map(({ value }) => value);
  const { form } = metricWords(curve.metric);
  if (form === 'share') return [0, 1];
  const [low, high] = [minOf(values), maxOf(values)];
  if (form === 'count') return [0, Math.max(1, high)];
  return low === high ? [low - 1, high + 1] : [low, high];
}

/** The chart in words, for a screen reader. */
function spokenCurve({ metric, points }: Curve): string {
  const { label, form } = metricWords(metric);
  const text = (value: number | undefined): string => numberText(value ?? null, form);
  const values = points.map(({ value }) => value);
  return `${label}: from ${text(values[0])} at update ${points[0]?.update ?? 0} to ${text(values.at(-1))} at update ${points.at(-1)?.update ?? 0}; lowest ${text(minOf(values))}, highest ${text(maxOf(values))}.`;
}

function axes(x: Scale, y: Scale, metric: string): Html {
  const { form } = metricWords(metric);
  const rows = roundTicks(y.low, y.high, 4).map(
    (tick) =>
      html`<line class="grid" x1="${EDGE.left}" x2="${WIDTH - EDGE.right}" y1="${coordinate(y.place(tick))}" y2="${coordinate(y.place(tick))}"/><text class="tick" x="${EDGE.left - 7}" y="${coordinate(y.place(tick) + 4)}" text-anchor="end">${numberText(tick, form === 'count' ? 'number' : form)}</text>`,
  );
  const columns = roundTicks(x.low, x.high, 4).map(
    (tick) =>
      html`<text class="tick" x="${coordinate(x.place(tick))}" y="${HEIGHT - 6}" text-anchor="middle">${numberText(tick, 'number')}</text>`,
  );
  return html`<g aria-hidden="true">${rows}${columns}</g>`;
}

/** One curve over the updates of its stage: every value faint, their running mean bold. */
function lineChart(curve: Curve, updates: number): Html {
  const [low, high] = valueRange(curve);
  const x = linearScale(0, Math.max(1, updates - 1), EDGE.left, WIDTH - EDGE.right);
  const y = linearScale(low, high, HEIGHT - EDGE.bottom, EDGE.top);
  const { label, meaning } = metricWords(curve.metric);
  const smoothed = (): CurvePoint[] => smoothCurve(curve.points, SMOOTHING_SHARE);
  const marks = curve.isSparse
    ? html`<path class="line" d="${pathOf(curve.points, x, y)}"/>${curve.points.map(
        ({ update, value }) =>
          html`<circle class="dot" cx="${coordinate(x.place(update))}" cy="${coordinate(y.place(value))}" r="3.5"/>`,
      )}`
    : html`<path class="line-faint" d="${pathOf(thinCurve(curve.points, MAX_POINTS), x, y)}"/><path class="line" d="${pathOf(thinCurve(smoothed(), MAX_POINTS), x, y)}"/>`;
  return html`<figure class="chart">
<figcaption><strong>${label}</strong> <span>${meaning}</span></figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${spokenCurve(curve)}">${axes(x, y, curve.metric)}${marks}</svg>
</figure>`;
}

import type { PageSection } from './page-section.ts';

function stageFigures({ stage, updates, curves }: StageCurves) {
  const isMain = (metric: string): boolean => MAIN_CURVES.includes(metric);
  const others = curves.filter(({ metric }) => !isMain(metric));
  const { label, explain } = stageWords(stage);
  return html`<div class="stage-curves"><h3>${label} <span class="quiet">${counted(updates, 'update')}</span></h3><p class="quiet">${explain}</p>
<div class="charts">${curves.filter(({ metric }) => isMain(metric)).map((curve) => lineChart(curve, updates))}</div>
${others.length === 0 ? '' : html`<details><summary>${counted(others.length, 'more curve')}</summary><div class="charts">${others.map((curve) => lineChart(curve, updates))}</div></details>`}</div>`;
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
