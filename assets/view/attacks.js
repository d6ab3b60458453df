// @ts-check
// The attacks of one run: filters, search, pages, and their texts once somebody asks for them.
import { attackLabels, judgesFold, truthGroup } from './labels.js';
import { ask, button, make, row, table, textNodes } from './parts.js';
import { relatedFold } from './related.js';
import { addTopics, categoryWords } from './topics.js';

/** Headings of the attacks; the cell of each only where the run has cells. @param {boolean} hasCells */
const headingsOf = (hasCells) => [
  ...['attack', 'stage', 'update', 'source'],
  ...(hasCells ? ['cell'] : []),
  ...['P(unsafe)', 'text'],
];
const SUCCESS = 0.5;
const NOTE = 'Texts were written to provoke, and may offend: they stay hidden until you ask.';

/** True until the page is closed or reloaded; no storage remembers it. */
let isAllShown = false;

/** @param {number | null} value */
const score = (value) => (value === null ? '–' : value.toFixed(2));

/**
 * A text behind a button, or shown at once.
 * @param {{ characters: number, parts?: string[] }} text
 * @param {string} name for a screen reader
 * @param {() => Promise<string[]>} load
 */
export function veil(text, name, load) {
  const body = make('div', { class: 'veil-body' });
  const toggle = make('button', { type: 'button', class: 'reveal' });
  const element = make('div', { class: 'veil' }, toggle, body);
  /** @param {readonly string[] | undefined} parts */
  const set = (parts) => {
    const isShown = parts !== undefined;
    const note = `${text.characters.toLocaleString('en-US')} ${text.characters === 1 ? 'character' : 'characters'}`;
    body.replaceChildren(...(isShown ? textNodes(parts) : [make('span', { class: 'veil-note' }, note)]));
    if (isShown) body.dir = 'auto';
    else body.removeAttribute('dir');
    element.classList.toggle('shown', isShown);
    toggle.textContent = isShown ? 'Hide' : 'Show';
    toggle.setAttribute('aria-expanded', String(isShown));
    toggle.setAttribute('aria-label', `${toggle.textContent} ${name}`);
  };
  toggle.addEventListener('click', async () => {
    if (element.classList.contains('shown')) return set(undefined);
    try {
      set(text.parts ?? (await load()));
    } catch (error) {
      body.replaceChildren(String(error));
    }
  });
  set(isAllShown ? text.parts : undefined);
  return element;
}

/** @param {string} base @param {number} id @param {boolean} isShown */
const askOne = (base, id, isShown) => ask(`${base}/attacks/${id}${isShown ? '?show=1' : ''}`);

/** What is known of an answer: each verdict, and whether a label calls it wrong. @param {any} response */
function answerFacts({ isRefused, truncated, verdicts }) {
  const words = verdicts.map(
    (/** @type {any} */ { judge, masked, unsafe, categories, isWrong }) =>
      `${judge}${masked ? ', own words masked' : ''}: ${score(unsafe)}${categoryWords(categories)}${isWrong === true ? ', wrong' : ''}`,
  );
  return [...(isRefused ? ['refused'] : []), ...(truncated ? ['cut off'] : []), ...words].join(' · ');
}

/** @param {string} base @param {number} id @param {any} response @param {number} place */
function answerItem(base, id, response, place) {
  const load = async () => (await askOne(base, id, true)).responses[place].text.parts;
  const name = `answer ${place + 1} to attack ${id}`;
  const facts = make('p', { class: 'quiet' }, answerFacts(response));
  const refresh = async () => {
    facts.textContent = answerFacts((await askOne(base, id, false)).responses[place]);
  };
  const answer = { attack: id, response };
  const labels = response.isRefused
    ? []
    : [truthGroup(base, name, answer, refresh), judgesFold(base, name, answer, refresh)];
  return make('li', {}, veil(response.text, name, load), facts, ...labels);
}

const WHY = 'Why it works: the smallest part that succeeded by itself, its cause.';

/** @param {string} base @param {number} id @param {any} cause of the way that the attack belongs to */
const causeVeil = (base, id, cause) =>
  veil(cause, `cause of attack ${id}`, async () => (await askOne(base, id, true)).way.cause.parts);

/** The answers to one attack, and why it works, fetched when the fold is opened first. @param {string} base @param {any} attack */
function answersFold(base, { id, responseCount }) {
  const list = make('ul', { class: 'answers' });
  const fold = make(
    'details',
    {},
    make('summary', {}, `${responseCount} ${responseCount === 1 ? 'answer' : 'answers'}`),
    list,
  );
  fold.addEventListener('toggle', async () => {
    if (!fold.open || list.childElementCount > 0) return;
    const { responses, way } = await askOne(base, id, isAllShown);
    list.replaceChildren(
      ...responses.map((/** @type {any} */ response, /** @type {number} */ place) =>
        answerItem(base, id, response, place),
      ),
    );
    if (way !== null) list.after(make('div', { class: 'quiet' }, WHY, causeVeil(base, id, way.cause)));
  });
  return fold;
}

/** @param {string} base @param {any} attack @param {boolean} hasCells */
function attackRow(base, attack, hasCells) {
  const { id, stage, update, source, cell, meanUnsafe, text, responseCount } = attack;
  const load = async () => (await askOne(base, id, true)).text.parts;
  const texts = [
    veil(text, `attack ${id}`, load),
    responseCount > 0 ? answersFold(base, attack) : null,
    relatedFold(base, id, { veil, answersFold, isShown: () => isAllShown }),
    ...attackLabels(base, attack, () => askOne(base, id, isAllShown), (cause) => causeVeil(base, id, cause)),
  ];
  const mean = make('span', { class: 'score' }, score(meanUnsafe));
  const facts = [id, stage, update + 1, source, ...(hasCells ? [cell ?? '–'] : []), mean];
  const element = row(headingsOf(hasCells), [...facts, make('div', { class: 'attack-text' }, texts)]);
  element.dataset.outcome = meanUnsafe === null ? 'unscored' : meanUnsafe > SUCCESS ? 'success' : 'failure';
  return element;
}

/** The page of one attack. @param {string} base path of the run in the API @param {number} id */
export async function attackPart(base, id) {
  const attack = await askOne(base, id, isAllShown);
  const hasCell = attack.cell !== null;
  const rows = [attackRow(base, attack, hasCell)];
  const body = table(`Attack ${id}, hidden until you ask.`, headingsOf(hasCell), rows);
  return make('div', { class: 'view-part attacks' }, make('p', { class: 'quiet' }, NOTE), body);
}

/** @param {string} name @param {string} label @param {readonly (readonly [string, string])[]} options */
function choice(name, label, options) {
  const select = make('select', { name }, ...options.map(([value, words]) => make('option', { value }, words)));
  return make('label', {}, label, select);
}

/** @param {any} overview @param {readonly string[]} sources */
function filterForm({ progress, judges, cells }, sources) {
  const any = /** @type {const} */ (['', 'any']);
  /** @param {readonly string[]} names */
  const each = (names) => [any, ...names.map((name) => /** @type {const} */ ([name, name]))];
  const search = make('input', {
    type: 'search',
    name: 'search',
    maxlength: '200',
    autocomplete: 'off',
    spellcheck: 'false',
  });
  return make(
    'form',
    { class: 'filters', role: 'search', 'aria-label': 'Attacks' },
    make('label', { class: 'search' }, 'Search in attacks', search),
    choice('stage', 'Stage', each(progress.map((/** @type {any} */ { name }) => name))),
    choice('source', 'Source', each(sources)),
    cells.length === 0 ? null : choice('cell', 'Cell', each(cells)),
    choice('outcome', 'Outcome', [any, ['success', 'success'], ['failure', 'no success'], ['unscored', 'not scored']]),
    choice('judge', 'Judged by', [
      ['', 'training judge'],
      ...judges.map((/** @type {string} */ name) => /** @type {const} */ ([name, name])),
    ]),
    make('button', {}, 'Search'),
  );
}

/** Asks before all texts are shown. @returns {Promise<boolean>} */
function confirmShow() {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById('confirm'));
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

/**
 * The part of a run's page with its attacks, and how it is refreshed.
 * @param {string} base path of the run in the API
 * @param {any} overview
 * @param {readonly string[]} sources
 */
export function attacksPart(base, overview, sources) {
  const form = filterForm(overview, sources);
  const hasCells = overview.cells.length > 0;
  const status = make('p', { class: 'quiet', role: 'status' });
  const place = make('div', { class: 'attacks' });
  /** Where each page up to the present one begins; '' is the newest. @type {string[]} */
  let starts = [''];
  let next = '';
  let newest = overview.work.newestAttack;
  let asked = new AbortController();

  const older = button('Older', () => turn([...starts, next]));
  const newer = button('Newer', () => turn(starts.slice(0, -1)));
  const all = button('Show all texts…', async () => {
    if (!isAllShown && !(await confirmShow())) return;
    isAllShown = !isAllShown;
    all.textContent = isAllShown ? 'Hide all texts' : 'Show all texts…';
    await turn(starts);
  });
  all.textContent = isAllShown ? 'Hide all texts' : 'Show all texts…';

  /** One page; a search that ran out of time goes on where it was. @param {string} start @param {AbortSignal} signal */
  async function load(start, signal) {
    const given = new FormData(form);
    const filter = new URLSearchParams([...given].map(([name, value]) => [name, String(value)]));
    if (isAllShown) filter.set('show', '1');
    const limit = 50;
    const attacks = [];
    for (let before = start; ; ) {
      filter.set('before', before);
      filter.set('limit', String(limit - attacks.length));
      const page = await ask(`${base}/attacks?${filter}`, { signal });
      attacks.push(...page.attacks);
      if (page.isFull || page.next === null) return { attacks, next: page.next };
      before = String(page.next);
      status.textContent = `Still searching; ${attacks.length} found so far.`;
    }
  }

  /** @param {string[]} to */
  async function turn(to) {
    asked.abort();
    asked = new AbortController();
    const { signal } = asked;
    status.textContent = 'Searching.';
    try {
      const page = await load(to.at(-1) ?? '', signal);
      if (signal.aborted) return;
      starts = to;
      next = page.next === null ? '' : String(page.next);
      older.disabled = next === '';
      newer.disabled = starts.length === 1;
      status.textContent =
        page.attacks.length === 0 ? 'No attack matches.' : `Page ${starts.length}: ${page.attacks.length} attacks.`;
      const rows = page.attacks.map((/** @type {any} */ attack) => attackRow(base, attack, hasCells));
      const caption = 'Attacks, the newest first.';
      place.replaceChildren(...(rows.length === 0 ? [] : [table(caption, headingsOf(hasCells), rows)]));
    } catch (error) {
      if (!signal.aborted) status.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  /** True while a reader looks at no row: then rows may change under the page. */
  const isUntouched = () =>
    starts.length === 1 && place.querySelector('details[open], .veil.shown') === null && !place.contains(document.activeElement);
  /** Reads the first page again once there are newer attacks. @param {{ newestAttack: number | null }} work */
  const refresh = ({ newestAttack }) => {
    if (newestAttack === newest || !isUntouched()) return;
    newest = newestAttack;
    turn(starts);
  };

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    turn(['']);
  });
  form.addEventListener('change', (event) => {
    if (event.target instanceof HTMLSelectElement) turn(['']);
  });
  turn(['']);
  addTopics(base, form, { choice, veil }).catch((error) => {
    form.after(make('p', { class: 'quiet' }, error instanceof Error ? error.message : String(error)));
  });
  const element = make(
    'section',
    { class: 'view-part', 'aria-labelledby': 'attacks-title' },
    make('h2', { id: 'attacks-title' }, 'Attacks'),
    form,
    make('p', { class: 'controls' }, all, ' ', make('span', { class: 'quiet' }, NOTE)),
    status,
    place,
    make('p', { class: 'controls' }, newer, older),
  );
  return { element, refresh };
}
