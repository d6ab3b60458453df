// @ts-check
// All labels of a run: who said what, when and of what, and a button that takes it back.
import { send } from './labels.js';
import { ask, button, make, row, table, textNodes } from './parts.js';

const HEADINGS = ['label', 'of', 'who', 'when (UTC)', 'note', 'now'];

/** The page with the labels of a run. @param {string} key */
export const labelsHash = (key) => `#/run/${encodeURIComponent(key)}/labels`;

/** @param {string} key @param {number} id */
const attackLink = (key, id) => make('a', { href: `#/run/${encodeURIComponent(key)}/attack/${id}` }, `attack ${id}`);

/** What a label says. @param {string} key @param {any} label */
function saysWords(key, { kind, value, name, original, judge }) {
  if (value === null) return ['taken back'];
  if (kind === 'duplicate') return ['duplicate of ', original === null ? 'another attack' : attackLink(key, original)];
  if (kind === 'verdict') return [value, ...(judge === null ? [', for all judges'] : [', for ', ...textNodes(judge), ' alone'])];
  return ['“', ...textNodes(name), '”'];
}

/** What a label is of. @param {string} key @param {any} label */
function subjectWords(key, { kind, subject, attack, response, isThere }) {
  if (kind === 'way') return [`way ${subject.slice(0, 12)}`];
  const what = kind === 'verdict' && response !== null ? [`answer ${response + 1} to `] : kind === 'wording' ? ['wording of '] : [];
  if (attack === null) return [...what, `attack ${subject.slice(0, 12)}`];
  return isThere ? [...what, attackLink(key, attack)] : [...what, `attack ${attack}, which has another text now`];
}

/** The rows of a page. @param {string} key @param {readonly any[]} labels @param {(label: any) => void} takeBack */
function labelRows(key, labels, takeBack) {
  return labels.map((label) => {
    const { id, at, who, note, holds } = label;
    const what = `label ${id}`;
    const last = holds ? button('Take back', () => takeBack(label), { 'aria-label': `Take back ${what}` }) : 'no longer holds';
    return row(HEADINGS, [
      ...[saysWords(key, label), subjectWords(key, label), textNodes(who), at.slice(0, 16).replace('T', ' ')],
      ...[note === undefined ? '–' : textNodes(note), last],
    ]);
  });
}

/** @param {number} count @param {string} words */
const counted = (count, words) => `${count.toLocaleString('en-US')} ${words}${count === 1 ? '' : 's'}`;

/** The page with all labels of a run. @param {string} key @param {string} base path of the run in the API */
export async function labelListPart(key, base) {
  const place = make('div', {});
  const status = make('p', { class: 'quiet', role: 'status', tabindex: '-1' });
  const every = make('input', { type: 'checkbox', name: 'all' });
  /** Where each page up to the present one begins; '' is the newest. @type {string[]} */
  let starts = [''];
  let next = '';
  const older = button('Older', () => turn([...starts, next]));
  const newer = button('Newer', () => turn(starts.slice(0, -1)));

  /** @param {any} label */
  async function takeBack(label) {
    try {
      await send(base, { withdraw: label.id });
      await turn(starts, `Label ${label.id} is taken back. `);
      status.focus();
    } catch (error) {
      status.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  /** @param {string[]} to @param {string} [news] */
  async function turn(to, news = '') {
    const query = new URLSearchParams({ before: to.at(-1) ?? '', all: every.checked ? '1' : '' });
    const page = await ask(`${base}/labels?${query}`);
    starts = to;
    next = page.next === null ? '' : String(page.next);
    older.disabled = next === '';
    newer.disabled = starts.length === 1;
    const rows = labelRows(key, page.labels, takeBack);
    const words = `${counted(page.holding, 'label')} ${page.holding === 1 ? 'holds' : 'hold'}, of ${counted(page.rows, 'row')} in all.`;
    status.textContent = `${news}${words}`;
    place.replaceChildren(...(rows.length === 0 ? [] : [table('Labels, the newest first.', HEADINGS, rows)]));
  }

  every.addEventListener('change', () => turn(['']));
  await turn(['']);
  return make(
    'div',
    { class: 'view-part label-list' },
    make('p', { class: 'quiet' }, 'A label is a row of its own: no verdict is ever changed. Taking one back adds a row, too.'),
    make('label', { class: 'check' }, every, ' Also rows that were replaced or taken back'),
    status,
    place,
    make('p', { class: 'controls' }, newer, older),
  );
}
