// @ts-check
// Filters by what attacks are about: wordings that readers named, ways by their causes, categories that judges named.
import { ask, make } from './parts.js';

/** @param {readonly string[]} parts a name as the server sends it; an option holds text alone */
const plain = (parts) => parts.join('');

/** @param {number} count */
const counted = (count) => `${count.toLocaleString('en-US')} ${count === 1 ? 'success' : 'successes'}`;

/** A way by its number, with its name or its size: its cause stays hidden. @param {any} way @param {number} place */
function wayWords({ name, successes }, place) {
  return `${place + 1}: ${name === null ? counted(successes) : plain(name)}`;
}

/**
 * The fold that tells which way is meant by a number.
 * @param {string} path of the topics in the API @param {readonly any[]} causes @param {Veil} veil
 */
function causesFold(path, causes, veil) {
  const items = causes.map((way, place) => {
    const load = async () => (await ask(`${path}?show=1`)).causes[place].cause.parts;
    const words = make('span', { class: 'quiet' }, `Way ${wayWords(way, place)}`);
    return make('li', {}, words, veil(way.cause, `cause of way ${place + 1}`, load));
  });
  return make('details', {}, make('summary', {}, 'Ways by their causes'), make('ol', { class: 'answers' }, ...items));
}

/** @typedef {(text: any, name: string, load: () => Promise<string[]>) => Element} Veil */
/** @typedef {(name: string, label: string, options: readonly (readonly [string, string])[]) => Element} Choice */

/**
 * Adds the filters that this run has topics for, once they are known.
 * @param {string} base path of the run in the API
 * @param {HTMLFormElement} form
 * @param {{ choice: Choice, veil: Veil }} parts
 */
export async function addTopics(base, form, { choice, veil }) {
  const path = `${base}/topics`;
  const { wordings, groups, causes, categories } = await ask(path);
  /** @param {readonly (readonly [string, string])[]} options */
  const withAny = (options) => [/** @type {const} */ (['', 'any']), ...options];
  /** @param {any} group */
  const groupWords = ({ words, name, successes }) => `${words}: ${name === null ? counted(successes) : plain(name)}`;
  const choices = [
    ['group', 'Wording', groups.map((/** @type {any} */ group) => [group.value, groupWords(group)])],
    ['wording', 'Named wording', wordings.map((/** @type {any} */ { value, name }) => [value, plain(name)])],
    ['cause', 'Way', causes.map((/** @type {any} */ way, /** @type {number} */ i) => [way.subject, wayWords(way, i)])],
    ['category', 'Category', categories.map((/** @type {any} */ { name, title }) => [name, title])],
  ].filter(([, , options]) => options.length > 0);
  const submit = form.querySelector('button');
  for (const [name, label, options] of choices) form.insertBefore(choice(name, label, withAny(options)), submit);
  if (causes.length > 0) form.after(causesFold(path, causes, veil));
}

/** The categories that a judge named, in brackets. @param {readonly string[]} categories */
export const categoryWords = (categories) => (categories.length === 0 ? '' : ` (${categories.join(', ')})`);
