// @ts-check
// The map of attacks that the last report kept: nearness is likeness of meaning, colours are wordings.
import { ask, make, makeSvg, row, table } from './parts.js';

/** @param {any} point */
function mark({ x, y, isSuccess, wording }) {
  const style = isSuccess ? (wording === null ? 'hit' : `hit wording-${wording}`) : 'miss';
  return makeSvg('circle', { class: style, cx: x, cy: y, r: isSuccess ? '3.2' : '2.6' });
}

/** The numbers of the coloured wordings, at the first point of each: colour is not the only sign. @param {any} panel */
function numbers({ wordings, points }) {
  return wordings.flatMap((/** @type {any} */ { number, example }) => {
    const at = points.find((/** @type {any} */ { id }) => id === example);
    if (at === undefined) return [];
    const y = String(Number(at.y) + 4);
    return [makeSvg('text', { class: 'map-number', x: at.x, y, 'text-anchor': 'middle' }, String(number))];
  });
}

/** @param {any} panel @param {{ width: number, height: number }} size @param {string} base */
function panelFigure(panel, { width, height }, base) {
  const { label, summary, spoken, leftOut, points, wordings } = panel;
  const rest = leftOut > 0 ? `; ${leftOut.toLocaleString('en-US')} more not drawn` : '';
  const svg = makeSvg(
    'svg',
    { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': spoken },
    ...points.map(mark),
    makeSvg('g', { 'aria-hidden': 'true' }, ...numbers(panel)),
  );
  const headings = ['wording', 'successes drawn', 'one of them'];
  const rows = wordings.map((/** @type {any} */ { number, name, successes, example }) => {
    const link = make('a', { href: `#/run/${base.slice('/api/runs/'.length)}/attack/${example}` }, `attack ${example}`);
    return row(headings, [name === null ? String(number) : `${number}: ${name.join('')}`, successes, link]);
  });
  return make(
    'figure',
    { class: 'map-panel' },
    make('figcaption', {}, make('strong', {}, label), ' ', make('span', {}, `${summary}${rest}`)),
    svg,
    rows.length === 0 ? null : table(`The largest wordings of ${label}.`, headings, rows),
  );
}

/** The part of a run's page with its map; nothing before a report has drawn one. @param {string} base */
export async function mapPart(base) {
  const map = await ask(`${base}/map`);
  if (map.panels.length === 0) return null;
  const shown = map.shown === null ? '' : ` The plane shows ${map.shown} of the spread: nearness here is a hint.`;
  const stale = map.stale === 0 ? '' : ' Stages that were evaluated again are missing until floodgate report draws them.';
  const words = `From the last report. Every point is an attack; points close together mean similar things. Filled points succeeded; colours and numbers are wordings.${shown}${stale}`;
  return make(
    'section',
    { class: 'view-part', 'aria-labelledby': 'map-title' },
    make('h2', { id: 'map-title' }, 'Map of the attacks'),
    make('p', { class: 'quiet' }, words),
    make('div', { class: 'panels' }, map.panels.map((/** @type {any} */ panel) => panelFigure(panel, map, base))),
  );
}
