// @ts-check
// The viewer's page: a list of runs, one run with its figures, curves and attacks, and runs side by side.
import { attackPart, attacksPart } from './attacks.js';
import { compareForm, showComparison } from './compare.js';
import { controlPart } from './control.js';
import { heatParts } from './heat.js';
import { labelListPart } from './label-list.js';
import { mapPart } from './map.js';
import { ask, chartFigure, make, RequestError, row, table } from './parts.js';
import { samplePart } from './sample.js';

const REFRESH_MS = 5000;
const ENDED = 'no process works on this run';
const main = /** @type {HTMLElement} */ (document.getElementById('main'));
const state = /** @type {HTMLElement} */ (document.getElementById('state'));
/** Counts the pages that were opened, so that a slow answer never replaces a later page. */
let opened = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** @param {any} figure */
const figureText = (figure) =>
  figure === null ? '–' : `${figure.text}${figure.interval === null ? '' : ` (${figure.interval})`}`;

/** A status in words: a run that was killed counts as interrupted. @param {string} status */
const statusWords = (status) => (status === 'interrupted' ? 'interrupted: Resume continues it' : status);

const RUN_HEADINGS = ['run', 'status', 'created', 'seed', 'stages', 'last attacker', 'its success rate'];

async function showRuns() {
  const { runs } = await ask('/api/runs');
  const rows = runs.map((/** @type {any} */ run) => {
    const link = make('a', { href: `#/run/${encodeURIComponent(run.key)}` }, run.name);
    const created = run.createdAt?.slice(0, 16).replace('T', ' ') ?? '–';
    const stages = run.problem ?? (run.stages.join(', ') || '–');
    return row(RUN_HEADINGS, [
      link,
      run.status,
      created,
      run.seed ?? '–',
      stages,
      run.attacker ?? '–',
      figureText(run.asr),
    ]);
  });
  return {
    title: 'Runs',
    parts: [
      make(
        'div',
        { class: 'view-part' },
        rows.length === 0 ? 'There is no run here.' : table('Runs by name.', RUN_HEADINGS, rows),
      ),
      compareForm(runs) ?? '',
    ],
    refresh: undefined,
  };
}

const PROGRESS_HEADINGS = ['stage', 'status', 'updates', 'planned'];
const FIGURE_HEADINGS = ['figure', 'value', 'interval', 'from'];
const CELL_HEADINGS = ['cell', 'tried', 'success rate', 'interval', 'wordings'];

/** The figures of each cell of a stage; nothing for a run without cells. @param {any} stage */
function cellParts({ label, cells }) {
  if (cells.length === 0) return [];
  const rows = cells.map((/** @type {any} */ { name, tried, asr, wordings }) =>
    row(CELL_HEADINGS, [name, tried, asr.text, asr.interval ?? '–', wordings]),
  );
  const caption = `${label}: success rate and wordings by cell.`;
  return [make('div', { class: 'facts' }, table(caption, CELL_HEADINGS, rows))];
}

/** @param {any} overview */
function overviewParts({ facts, progress, stages }) {
  const steps = progress.map((/** @type {any} */ step) =>
    row(PROGRESS_HEADINGS, [step.name, step.status, step.updates, step.updatesPlanned]),
  );
  const about =
    facts === null
      ? ''
      : `Seed ${facts.seed} · target ${facts.models.find((/** @type {any} */ { role }) => role === 'target')?.spec ?? 'unknown'} · trained by the judge ${facts.trainingJudge}, counted by ${facts.reportedJudge}`;
  const figures = stages
    .filter((/** @type {any} */ stage) => stage.figures.length > 0)
    .flatMap((/** @type {any} */ stage) => {
      const { label, time, figures } = stage;
      const rows = figures.map((/** @type {any} */ figure) =>
        row(FIGURE_HEADINGS, [figure.label, figure.text, figure.interval ?? '–', figure.n]),
      );
      const caption = `${label}: figures of its evaluation, with their intervals; ${time} of work.`;
      return [make('div', { class: 'facts' }, table(caption, FIGURE_HEADINGS, rows)), ...cellParts(stage)];
    });
  return [
    make('p', { class: 'quiet' }, about),
    steps.length === 0
      ? make('p', {}, 'No stage has begun.')
      : make('div', { class: 'facts' }, table('How far each stage is.', PROGRESS_HEADINGS, steps)),
    ...figures,
  ];
}

/** @param {any} curves */
function curveParts({ stages }) {
  if (stages.length === 0) return [make('p', { class: 'quiet' }, 'No stage has learnt yet.')];
  return stages.map((/** @type {any} */ { label, updates, charts }) => {
    /** @param {boolean} isMain */
    const drawn = (isMain) =>
      charts
        .filter((/** @type {any} */ each) => each.isMain === isMain)
        .map((/** @type {any} */ { chart }) => chartFigure(chart));
    const others = drawn(false);
    return make(
      'div',
      { class: 'stage-curves' },
      make('h3', {}, label, ' ', make('span', { class: 'quiet' }, `${updates.toLocaleString('en-US')} updates`)),
      make('div', { class: 'charts' }, drawn(true)),
      others.length === 0
        ? null
        : make('details', {}, make('summary', {}, `${others.length} more`), make('div', { class: 'charts' }, others)),
    );
  });
}

/** @param {string} id @param {string} title */
function part(id, title) {
  const body = make('div', {});
  return {
    body,
    element: make('section', { class: 'view-part', 'aria-labelledby': id }, make('h2', { id }, title), body),
  };
}

/**
 * Draws a part again. The folds that a reader has opened stay open, and the keyboard stays at the fold where it is.
 * @param {HTMLElement} body @param {readonly Node[]} nodes
 */
function redraw(body, nodes) {
  const open = [...body.querySelectorAll('details')].map((fold) => fold.open);
  const at = [...body.querySelectorAll('summary')].findIndex((summary) => summary === document.activeElement);
  body.replaceChildren(...nodes);
  for (const [i, fold] of [...body.querySelectorAll('details')].entries()) fold.open = open[i] ?? false;
  if (at >= 0) body.querySelectorAll('summary')[at]?.focus({ preventScroll: true });
}

/** @param {string} key */
async function showRun(key) {
  const base = `/api/runs/${encodeURIComponent(key)}`;
  const load = () => Promise.all([ask(base), ask(`${base}/curves`)]);
  const rest = Promise.all([ask('/api/choices'), ask(`${base}/heat`), mapPart(base)]);
  const [[overview, curves], [{ sources }, heat, map]] = await Promise.all([load(), rest]);
  const status = make('p', { class: 'lead' }, statusWords(overview.status));
  const figures = part('figures-title', 'Figures');
  const learning = part('curves-title', 'Learning');
  redraw(figures.body, overviewParts(overview));
  redraw(learning.body, curveParts(curves));
  const refresh = async () => {
    const [now, drawn] = await load();
    status.textContent = statusWords(now.status);
    control.draw(now);
    attacks.refresh(now.work);
    redraw(figures.body, overviewParts(now));
    redraw(learning.body, curveParts(drawn));
    return now.status;
  };
  const page = opened;
  const attacks = attacksPart(base, overview, sources);
  const control = controlPart(base, overview, async () => {
    if ((await refresh()) !== 'done' && page === opened) keepFresh(refresh, page);
  });
  return {
    title: overview.name,
    parts: [status, control.element, figures.element, learning.element, ...heatParts(heat), map ?? '', attacks.element, samplePart(base, key)],
    refresh: overview.status === 'done' ? undefined : refresh,
  };
}

/** One attack on a page of its own. @param {string} key @param {number} id */
async function showAttack(key, id) {
  const run = `#/run/${encodeURIComponent(key)}`;
  const link = make('p', { class: 'lead' }, 'An attack of ', make('a', { href: run }, key));
  const part = await attackPart(`/api/runs/${encodeURIComponent(key)}`, id);
  return { title: `Attack ${id}`, parts: [link, part], refresh: undefined };
}

/** All labels of a run. @param {string} key */
async function showLabels(key) {
  const link = make('p', { class: 'lead' }, 'Labels of ', make('a', { href: `#/run/${encodeURIComponent(key)}` }, key));
  const part = await labelListPart(key, `/api/runs/${encodeURIComponent(key)}`);
  return { title: 'Labels', parts: [link, part], refresh: undefined };
}

/** @param {unknown} error */
function showProblem(error) {
  const message = error instanceof RequestError ? error.message : String(error);
  main.replaceChildren(make('p', { class: 'problem', role: 'alert' }, message));
}

/** @param {string} words @param {'polite' | 'off'} live `off`: a screen reader does not announce them */
function sayState(words, live = 'polite') {
  state.setAttribute('aria-live', live);
  state.textContent = words;
}

/**
 * Looks again until the run is done. A run that was killed or stopped may go on at any time: another terminal resumes
 * it, or the process that the page has started takes long to begin.
 * @param {() => Promise<string>} refresh gives the status @param {number} page
 */
function keepFresh(refresh, page) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    try {
      const status = await refresh();
      if (page !== opened) return;
      if (status === 'running') sayState(`refreshed at ${new Date().toLocaleTimeString()}`, 'off');
      else if (state.textContent !== ENDED) sayState(ENDED);
      if (status !== 'done') keepFresh(refresh, page);
    } catch (error) {
      if (page === opened) sayState(error instanceof Error ? error.message : String(error));
    }
  }, REFRESH_MS);
}

/**
 * The page of an address; any other is the list of runs.
 * @param {string} hash @param {(words: string) => boolean} say what goes on until it is there; false once it is left
 */
function open(hash, say) {
  const [, kind, rest = ''] = /^#\/(run|compare)\/(.+)$/.exec(hash) ?? [];
  const [, run, id] = /^([^/]+)\/attack\/(\d{1,15})$/.exec(rest) ?? [];
  if (kind === 'run' && run !== undefined) return showAttack(decodeURIComponent(run), Number(id));
  const [, labelled] = /^([^/]+)\/labels$/.exec(rest) ?? [];
  if (kind === 'run' && labelled !== undefined) return showLabels(decodeURIComponent(labelled));
  if (kind === 'run') return showRun(decodeURIComponent(rest));
  if (kind === 'compare') return showComparison(rest.split('/').map(decodeURIComponent), say);
  return showRuns();
}

async function route() {
  const page = ++opened;
  clearTimeout(timer);
  sayState('');
  try {
    const { title, parts, refresh } = await open(location.hash, (words) => {
      if (page === opened) sayState(words);
      return page === opened;
    });
    if (page !== opened) return;
    sayState('');
    document.title = `${title} – Floodgate`;
    main.replaceChildren(make('h1', {}, title), ...parts);
    if (page > 1) main.focus();
    if (refresh !== undefined) keepFresh(refresh, page);
  } catch (error) {
    if (page === opened) showProblem(error);
  }
}

/** Exchanges the token of the address for a cookie, and takes it out of the address and the history. */
async function begin() {
  const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(null, '', '#/');
  await ask('/api/session', { method: 'POST', body: JSON.stringify({ token }) });
}

for (const answer of ['yes', 'no']) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById('confirm'));
  document.getElementById(`confirm-${answer}`)?.addEventListener('click', () => dialog.close(answer));
}
document.querySelector('.skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', route);
begin().then(route, showProblem);
