import { type Html, html } from '../words/html.ts';
import { metricWords } from '../words/metric-words.ts';
import { intervalText, type NumberForm, numberText, type ReportMeasure, UNKNOWN } from '../words/number-words.ts';
import { coordinate, linearScale } from './svg-scale.ts';

/** ` 50–62%`, small and on one line; empty where there is no interval. */
export function intervalWords(measure: ReportMeasure, form: NumberForm): Html {
  const interval = intervalText(measure, form);
  return interval === undefined ? html`` : html` <span class="quiet whole">${interval}</span>`;
}

/** A measure with its interval, as a cell of a table. */
export function measureWords(measure: ReportMeasure | undefined, name: string): Html | string {
  if (measure === undefined || measure.value === null) return UNKNOWN;
  const { form } = metricWords(name);
  return html`${numberText(measure.value, form)}${intervalWords(measure, form)}`;
}

/** Figures with their names, as a list; a figure that is not known is left out. */
export function namedFigures(metrics: Readonly<Record<string, ReportMeasure>>, names: readonly string[]): Html {
  const items = names.map((name) => {
    const measure = metrics[name];
    if (typeof measure?.value !== 'number') return html``;
    const { label, form } = metricWords(name);
    return html`<li><span>${label}</span> <strong>${numberText(measure.value, form)}</strong>${intervalWords(measure, form)}</li>`;
  });
  return html`<ul class="besides">${items}</ul>`;
}

/** A bar of a group's size beside the largest one. It repeats a number beside it. */
export function sizeBar(size: number, largest: number): Html {
  return html`<svg class="size" viewBox="0 0 200 8" preserveAspectRatio="none" aria-hidden="true"><rect width="${coordinate(Math.max(2, (size / largest) * 200))}" height="8" rx="2"/></svg>`;
}

/** Steps of shade, of which each has its class in page.css. */
const SHADES = 10;

/** The step of shade of a figure by its part of `most`, 0 to 10; undefined where there is no figure. */
export function heatShade(measure: ReportMeasure | undefined, most: number): number | undefined {
  if (measure === undefined || measure.value === null) return undefined;
  return Math.round((most === 0 ? 0 : Math.min(1, measure.value / most)) * SHADES);
}

/** A figure shaded by its part of `most`. The shade repeats the number in the cell, so it needs no legend. */
export function heatCell(measure: ReportMeasure | undefined, form: NumberForm, most: number): Html | string {
  const shade = heatShade(measure, most);
  if (measure === undefined || shade === undefined) return UNKNOWN;
  return html`<span class="heat heat-${shade}"><span class="value">${numberText(measure.value, form)}</span>${intervalWords(measure, form)}</span>`;
}

const WIDTH = 240;
const HEIGHT = 18;

/**
 * A bar of one measure on a scale from 0 to `most`, with its interval as a line. It repeats the number beside it, so it
 * is hidden from screen readers.
 */
export function intervalBar({ value, low, high }: ReportMeasure, most: number): Html {
  if (value === null) return html``;
  const scale = linearScale(0, Math.max(most, 1e-9), 2, WIDTH - 2);
  const at = (number: number): string => coordinate(scale.place(Math.min(Math.max(number, 0), Math.max(most, 1e-9))));
  const whisker =
    low === null || high === null
      ? html``
      : html`<line class="whisker" x1="${at(low)}" x2="${at(high)}" y1="9" y2="9"/>`;
  return html`<svg class="interval" viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true"><line class="track" x1="2" x2="${WIDTH - 2}" y1="9" y2="9"/>${whisker}<circle class="mark" cx="${at(value)}" cy="9" r="5"/></svg>`;
}
