import { type Html, html } from './html.ts';
import { metricWords } from './metric-words.ts';
import { intervalText, type NumberForm, numberText, type ReportMeasure, UNKNOWN } from './number-words.ts';

/** ` 50–62%`, small and on one line; nothing where there is no interval. */
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
