// @ts-check
// One attack beside others: the same text in other stages and on further targets, and successes that share its words.
import { ask, make } from './parts.js';

/** @typedef {(text: any, name: string, load: () => Promise<string[]>) => Element} Veil */

/** The page of one attack. @param {string} base path of the run in the API @param {number} id */
const attackLink = (base, id) =>
  make('a', { href: `#/run/${base.slice('/api/runs/'.length)}/attack/${id}` }, `attack ${id}`);

/** Outcomes by judge, in words. @param {readonly any[]} judges */
function outcomeList(judges) {
  const items = judges.map(({ judge, meanUnsafe, isSuccess }) =>
    make('li', {}, `${judge}: ${isSuccess ? 'success' : 'no success'}, ${meanUnsafe.toFixed(2)}`),
  );
  return items.length === 0 ? make('p', { class: 'quiet' }, 'Not scored.') : make('ul', {}, ...items);
}

/**
 * The rows of one stage with one text.
 * @param {string} base @param {any} side @param {(base: string, attack: any) => Element} answersFold
 */
function sideCard(base, { words, count, attacks }, answersFold) {
  const rest = count - attacks.length;
  return make(
    'li',
    { class: 'side' },
    make('strong', {}, words),
    ...attacks.map((/** @type {any} */ attack) =>
      make(
        'div',
        {},
        attackLink(base, attack.id),
        outcomeList(attack.judges),
        attack.responseCount > 0 ? answersFold(base, attack) : null,
      ),
    ),
    rest > 0 ? make('p', { class: 'quiet' }, `${rest.toLocaleString('en-US')} more of this stage`) : null,
  );
}

/** @param {string} base @param {any} related @param {(base: string, attack: any) => Element} answersFold */
function elsewhereParts(base, { attack, elsewhere }, answersFold) {
  const late = elsewhere.isFull ? '' : ' Time ran out: older rows were not read.';
  if (elsewhere.stages.length === 0)
    return [make('p', { class: 'quiet' }, `No other stage and no further target was sent this text.${late}`)];
  const here = { words: `Here: ${attack.words}`, count: 1, attacks: [attack] };
  const cards = [here, ...elsewhere.stages].map((side) => sideCard(base, side, answersFold));
  return [make('p', { class: 'quiet' }, `The same text elsewhere.${late}`), make('ul', { class: 'sides' }, ...cards)];
}

/** @param {string} base @param {any} neighbours @param {(place: number) => Promise<string[]>} load @param {Veil} veil */
function neighbourParts(base, { by, words, judge, attacks }, load, veil) {
  const isByWords = by === 'words';
  if (attacks.length === 0)
    return [make('p', { class: 'quiet' }, `No other success of this attacker’s evaluation is like it (${words}).`)];
  /** @param {number} likeness */
  const nearness = (likeness) =>
    isByWords ? `${Math.round(100 * likeness)}% of words shared` : `cosine ${likeness.toFixed(2)}`;
  const items = attacks.map((/** @type {any} */ { id, likeness, meanUnsafe, text }, /** @type {number} */ place) =>
    make(
      'li',
      {},
      attackLink(base, id),
      make('span', { class: 'quiet' }, ` ${nearness(likeness)}, ${judge}: success, ${meanUnsafe.toFixed(2)}`),
      veil(text, `neighbour ${id}`, () => load(place)),
    ),
  );
  const caption = isByWords
    ? `Successes that share the most words (${words}). Words are compared, not meanings.`
    : `Successes that mean the most similar things (${words}), by the embeddings of the last report.`;
  return [make('p', { class: 'quiet' }, caption), make('ul', { class: 'answers' }, ...items)];
}

/**
 * A fold with the attacks that have to do with this one, fetched when it is opened first.
 * @param {string} base path of the run in the API
 * @param {number} id
 * @param {{ veil: Veil, isShown: () => boolean, answersFold: (base: string, attack: any) => Element }} parts
 */
export function relatedFold(base, id, { veil, isShown, answersFold }) {
  const path = `${base}/attacks/${id}/related`;
  const body = make('div', { class: 'related' });
  const fold = make('details', {}, make('summary', { 'aria-label': `Beside attack ${id}` }, 'Beside it'), body);
  fold.addEventListener('toggle', async () => {
    if (!fold.open || body.childElementCount > 0) return;
    try {
      const related = await ask(isShown() ? `${path}?show=1` : path);
      /** @param {number} place */
      const load = async (place) => (await ask(`${path}?show=1`)).neighbours.attacks[place].text.parts;
      body.replaceChildren(
        ...elsewhereParts(base, related, answersFold),
        ...neighbourParts(base, related.neighbours, load, veil),
      );
    } catch (error) {
      body.replaceChildren(error instanceof Error ? error.message : String(error));
    }
  });
  return fold;
}
