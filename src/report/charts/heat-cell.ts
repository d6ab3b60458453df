import { type Html, html } from '../words/html.ts';
import { intervalWords } from '../words/measure-words.ts';
import { type NumberForm, numberText, type ReportMeasure, UNKNOWN } from '../words/number-words.ts';

/** Steps of shade, of which each has its class in page.css. */
const SHADES = 10;

/** A figure shaded by its part of `most`. The shade repeats the number that stands in the cell, and so needs no legend. */
export function heatCell(measure: ReportMeasure | undefined, form: NumberForm, most: number): Html | string {
  if (measure === undefined || measure.value === null) return UNKNOWN;
  const part = most === 0 ? 0 : Math.min(1, measure.value / most);
  return html`<span class="heat heat-${Math.round(part * SHADES)}"><span class="value">${numberText(measure.value, form)}</span>${intervalWords(measure, form)}</span>`;
}
