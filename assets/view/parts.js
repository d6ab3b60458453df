// @ts-check
// Asks the server and makes elements. Every text becomes a text node: no function here reads markup.

/** An answer that is not 2xx. */
export class RequestError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<any>} the JSON of the answer
 */
export async function ask(path, init) {
  let answer;
  try {
    answer = await fetch(path, { cache: 'no-store', ...init });
  } catch (error) {
    if (init?.signal?.aborted) throw error;
    throw new RequestError(0, 'The viewer has stopped. Start it again with floodgate view.');
  }
  if (answer.status === 204) return undefined;
  const body = await answer.json();
  if (!answer.ok)
    throw new RequestError(answer.status, body?.error?.message ?? `The server answered ${answer.status}.`);
  return body;
}

/** @typedef {Node | string | number | null | undefined | readonly (Node | string | number | null | undefined)[]} Child */

/**
 * @param {Element} element
 * @param {Record<string, string | boolean | undefined>} attributes
 * @param {readonly Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(typeof child === 'number' ? String(child) : child);
  }
  return element;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | boolean | undefined>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/** @param {string} tag @param {Record<string, string>} attributes @param {...Child} children */
export function makeSvg(tag, attributes, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

/** @param {string} words @param {() => void} act @param {Record<string, string>} [attributes] */
export function button(words, act, attributes = {}) {
  const element = make('button', { type: 'button', ...attributes }, words);
  element.addEventListener('click', act);
  return element;
}

/**
 * A table with its headings; on a phone each cell says its own.
 * @param {string} caption
 * @param {readonly string[]} headings
 * @param {readonly Element[]} rows
 */
export function table(caption, headings, rows) {
  const head = make('tr', {}, ...headings.map((heading) => make('th', { scope: 'col' }, heading)));
  return make('table', {}, make('caption', {}, caption), make('thead', {}, head), make('tbody', {}, ...rows));
}

/** @param {readonly string[]} headings @param {readonly Child[]} cells */
export function row(headings, cells) {
  const made = cells.map((cell, i) =>
    i === 0 ? make('th', { scope: 'row' }, cell) : make('td', { 'data-label': headings[i] }, cell),
  );
  return make('tr', {}, ...made);
}

/** A chart that the server has laid out. @param {any} chart */
export function chartFigure({ label, meaning, spoken, width, height, rows, columns, paths, dots }) {
  const grid = rows.map((/** @type {any} */ { from, to, y }) =>
    makeSvg('line', { class: 'grid', x1: from, x2: to, y1: y, y2: y }),
  );
  /** @param {string} anchor */
  const tick =
    (anchor) =>
    (/** @type {any} */ { x, y, text }) =>
      makeSvg('text', { class: 'tick', x, y, 'text-anchor': anchor }, text);
  const axes = makeSvg(
    'g',
    { 'aria-hidden': 'true' },
    ...grid,
    ...rows.map((/** @type {any} */ { text }) => tick('end')(text)),
    ...columns.map(tick('middle')),
  );
  const lines = paths.map((/** @type {any} */ { style, d }) => makeSvg('path', { class: style, d }));
  const marks = dots.map((/** @type {any} */ { x, y }) => makeSvg('circle', { class: 'dot', cx: x, cy: y, r: '3.5' }));
  const svg = makeSvg(
    'svg',
    { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': spoken },
    axes,
    ...lines,
    ...marks,
  );
  const caption = make('figcaption', {}, make('strong', {}, label), ' ', make('span', {}, meaning));
  return make('figure', { class: 'chart' }, caption, svg);
}

/** The words of a text: even parts are plain, odd ones visible escapes. @param {readonly string[]} parts */
export function textNodes(parts) {
  return parts.map((part, place) =>
    place % 2 === 0 ? document.createTextNode(part) : make('span', { class: 'escape' }, part),
  );
}
