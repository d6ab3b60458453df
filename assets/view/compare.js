// @ts-check
// Runs side by side: which runs, figures with their differences, ways that opened or closed, settings that differ.
import { veil } from './attacks.js';
import { ask, make, RequestError, row, table, textNodes } from './parts.js';

/** The page of a comparison. @param {readonly string[]} keys */
export const compareHash = (keys) => `#/compare/${keys.map(encodeURIComponent).join('/')}`;

/** @param {string} label @param {readonly any[]} runs @param {string} chosen */
function runChoice(label, runs, chosen) {
  const options = runs.map(({ key, createdAt }) =>
    make('option', { value: key, selected: key === chosen }, `${key}, ${createdAt?.slice(0, 10) ?? 'no date'}`),
  );
  return make('label', {}, label, make('select', { name: label }, ...options));
}

/**
 * A form that opens the comparison of two runs of the list; nothing when there are fewer.
 * @param {readonly any[]} listed runs as `/api/runs` has them
 */
export function compareForm(listed) {
  const runs = [...listed].sort((a, b) => (a.createdAt ?? '').localeCompare(b.createdAt ?? ''));
  if (runs.length < 2) return null;
  const form = make(
    'form',
    { class: 'filters', 'aria-label': 'Compare two runs' },
    runChoice('Before', runs, runs.at(-2).key),
    runChoice('After', runs, runs.at(-1).key),
    make('button', {}, 'Compare'),
  );
  const status = make('p', { class: 'quiet', role: 'status' });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const keys = [...new FormData(form).values()].map(String);
    if (keys[0] === keys[1]) status.textContent = 'These are the same run. Choose two.';
    else location.hash = compareHash(keys);
  });
  return part('compare-title', 'Compare two runs', [form, status]);
}

/** @param {string} id @param {string} title @param {readonly (Node | string | null)[]} children */
const part = (id, title, children) =>
  make('section', { class: 'view-part', 'aria-labelledby': id }, make('h2', { id }, title), children);

/** @param {any} answer */
function figuresPart({ runs, figures, shared }) {
  const names = runs.map((/** @type {any} */ { name }) => name);
  const headings = ['attacker', 'figure', ...names, 'last − first', 'so it is'];
  const rows = figures.map((/** @type {any} */ { label, figure, values, difference, direction }) => {
    const says = direction === 'unclear' ? 'no clear difference' : direction;
    return row(headings, [label, figure, ...values, difference, says]);
  });
  const caption = 'Figures of both evaluations with their intervals. A difference is clear when its interval is all above or all below 0.';
  return part('figures-title', 'Figures', [
    rows.length === 0 ? make('p', {}, 'The runs share no evaluated attacker.') : table(caption, headings, rows),
    make('p', {}, shared.words),
  ]);
}

/**
 * Ways of one state, with their causes hidden.
 * @param {any} state @param {readonly any[]} runs @param {(place: number) => Promise<any>} shownWay
 */
function stateFold({ state, words, count, ways }, runs, shownWay) {
  const headings = ['way', 'cause', 'an attack', ...runs.map(({ name }) => name)];
  const rows = ways.map((/** @type {any} */ way, /** @type {number} */ place) => {
    const number = `${state} ${place + 1}`;
    const evidence = way.runs.map(
      (/** @type {any} */ { isFound, asked, succeeded }) =>
        `${isFound ? 'found' : 'not found'}; ${succeeded} of ${asked} attacks with it succeeded`,
    );
    return row(headings, [
      number,
      veil(way.cause, `cause of way ${number}`, async () => (await shownWay(place)).cause.parts),
      veil(way.example, `attack of way ${number}`, async () => (await shownWay(place)).example.parts),
      ...evidence,
    ]);
  });
  const rest = count > ways.length ? `; the first ${ways.length} are listed` : '';
  return make(
    'details',
    { 'data-state': state },
    make('summary', {}, `${count} ${count === 1 ? 'way' : 'ways'} ${words}${rest}`),
    table(`Ways in the state ${state}, by their causes.`, headings, rows),
  );
}

/** @param {any} answer @param {() => Promise<any>} loadShown the same answer with its texts */
function waysPart({ runs, states, wayCount }, loadShown) {
  const folds = states.map((/** @type {any} */ each, /** @type {number} */ at) =>
    stateFold(each, runs, async (place) => (await loadShown()).states[at].ways[place]),
  );
  const words =
    wayCount === 0
      ? 'No run knows its ways by their causes.'
      : `${wayCount} ${wayCount === 1 ? 'way' : 'ways'} in all, by their causes. Causes are parts of attacks: they stay hidden until you ask.`;
  return part('ways-title', 'Ways', [make('p', { class: 'quiet' }, words), ...folds]);
}

/** @param {any} answer */
function settingsPart({ runs, settings }) {
  const headings = ['setting', ...runs.map((/** @type {any} */ { name }) => name)];
  const rows = settings.map((/** @type {any} */ { key, values }) => {
    const cells = values.map((/** @type {readonly string[] | null} */ value) =>
      value === null ? '–' : make('code', {}, textNodes(value)),
    );
    return row(headings, [key, ...cells]);
  });
  return part('settings-title', 'Settings that differ', [
    rows.length === 0 ? make('p', {}, 'The settings are the same.') : table('By their place in the config.', headings, rows),
  ]);
}

/**
 * The answer, once the server has compared.
 * @param {string} path
 * @param {(words: string) => boolean} say how far it is; false once the page is gone
 */
async function compared(path, say) {
  for (;;) {
    const answer = await ask(path);
    if (answer.isDone) return answer;
    if (!say(answer.progress)) throw new RequestError(0, 'The page was left.');
  }
}

/**
 * The page of a comparison, the oldest run first.
 * @param {readonly string[]} keys
 * @param {(words: string) => boolean} say
 */
export async function showComparison(keys, say) {
  const path = `/api/compare?${new URLSearchParams(keys.map((key) => ['run', key]))}`;
  const answer = await compared(path, say);
  /** The same comparison with its texts: of another one, the ways would be other ones. */
  async function load() {
    const texts = await compared(`${path}&show=1&version=${answer.version}`, () => true);
    if (texts.version !== answer.version) throw new RequestError(0, 'A run has changed. Reload the page to compare again.');
    return texts;
  }
  /** @type {Promise<any> | undefined} */
  let shown;
  const loadShown = () => {
    shown ??= load().catch((error) => {
      shown = undefined;
      throw error;
    });
    return shown;
  };
  const names = answer.runs.map((/** @type {any} */ { name }) => name);
  const facts = answer.runs.map(
    (/** @type {any} */ { name, createdAt, judge }) => `${name}: begun ${createdAt.slice(0, 10)}, counted by ${judge}`,
  );
  return {
    title: names.join(' → '),
    parts: [
      make('p', { class: 'lead' }, facts.join(' · ')),
      ...answer.warnings.map((/** @type {string} */ words) => make('p', { class: 'problem' }, `Warning: ${words}`)),
      figuresPart(answer),
      waysPart(answer, loadShown),
      settingsPart(answer),
    ],
    refresh: undefined,
  };
}
