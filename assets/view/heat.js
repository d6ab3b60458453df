// @ts-check
// Heat maps of a run: its attacks on further targets, and on tuned versions of its own target.
import { make, row, table } from './parts.js';

/** A number in a shaded cell: the shade repeats it. @param {any} cell */
function heatCell({ text, interval, shade, note }) {
  const figure =
    shade === null
      ? text
      : make(
          'span',
          { class: `heat heat-${shade}` },
          make('span', { class: 'value' }, text),
          interval === null ? null : make('span', { class: 'quiet whole' }, interval),
        );
  return [figure, note === null ? null : make('span', { class: 'quiet' }, ` ${note}`)];
}

/** @param {any} grid */
function heatTable({ what, judge, columns, rows }) {
  const headings = ['attacker', ...columns];
  const lines = rows.map((/** @type {any} */ { label, cells }) => row(headings, [label, ...cells.map(heatCell)]));
  const caption = `${what}, by the judge ${judge}. Darker is more.`;
  return make(
    'div',
    { class: 'wide', role: 'region', 'aria-label': `${what} by ${judge}`, tabindex: '0' },
    table(caption, headings, lines),
  );
}

/** The parts of a run's page with its heat maps; none where nothing was measured. @param {any} heat */
export function heatParts({ transfer, robustness }) {
  const part = (/** @type {string} */ id, /** @type {string} */ title, /** @type {readonly any[]} */ grids) =>
    grids.length === 0
      ? []
      : [
          make(
            'section',
            { class: 'view-part', 'aria-labelledby': id },
            make('h2', { id }, title),
            ...grids.map(heatTable),
          ),
        ];
  return [
    ...part('transfer-title', 'On other targets', transfer),
    ...part('robustness-title', 'After tuning', robustness),
  ];
}
