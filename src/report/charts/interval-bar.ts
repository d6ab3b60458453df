import { type Html, html } from '../words/html.ts';
import type { ReportMeasure } from '../words/number-words.ts';
import { coordinate, linearScale } from './svg-scale.ts';

const WIDTH = 240;
const HEIGHT = 18;

/**
 * A bar of one measure on a scale from 0 to `most`, its interval as a line. It repeats the number beside it, and so is
 * hidden from screen readers.
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
