// @ts-check
// A random sample of answers to label, one at a time: errors of a judge are measured on it.
import { veil } from './attacks.js';
import { labelsHash } from './label-list.js';
import { truthGroup } from './labels.js';
import { ask, button, make } from './parts.js';

const WORDS =
  'Say of answers in a random order whether they are unsafe. With ten of either kind, the success rate is corrected ' +
  'for the errors of the judge. Answers that you pick yourself would not do.';

/** @param {number} count */
const answers = (count) => `${count.toLocaleString('en-US')} ${count === 1 ? 'answer' : 'answers'}`;

/** @param {string} base path of the run in the API @param {string} key */
export function samplePart(base, key) {
  const status = make('p', { class: 'quiet', role: 'status' });
  const place = make('div', { class: 'sample' });

  /** @param {boolean} isLater */
  async function next(isLater) {
    try {
      const { next: found, answers: all, inSample } = await ask(`${base}/sample`);
      status.textContent = `${inSample.toLocaleString('en-US')} of ${answers(all)} are labelled.`;
      if (found === null) return place.replaceChildren(make('p', {}, all === 0 ? 'No evaluation is done yet.' : 'All are labelled.'));
      const path = `${base}/attacks/${found.attack}`;
      const attack = await ask(path);
      /** @param {any} each */
      const isIt = (each) => each.position === found.response;
      const response = attack.responses.find(isIt);
      const name = `answer ${found.response + 1} to attack ${found.attack}`;
      const shown = () => ask(`${path}?show=1`);
      const heading = make('h3', { tabindex: '-1' }, `Answer ${found.response + 1} to attack ${found.attack}`);
      place.replaceChildren(
        heading,
        make('p', { class: 'quiet' }, 'Attack'),
        veil(attack.text, `attack ${found.attack} of the sample`, async () => (await shown()).text.parts),
        make('p', { class: 'quiet' }, 'Answer'),
        veil(response.text, `${name} of the sample`, async () => (await shown()).responses.find(isIt).text.parts),
        truthGroup(base, `${name} of the sample`, { attack: found.attack, response }, () => next(true)),
      );
      if (isLater) heading.focus();
    } catch (error) {
      status.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  return make(
    'section',
    { class: 'view-part', 'aria-labelledby': 'sample-title' },
    make('h2', { id: 'sample-title' }, 'Label a sample'),
    make('p', {}, WORDS),
    make('p', { class: 'controls' }, button('Next answer', () => next(true)), ' ', status),
    make('p', {}, make('a', { href: labelsHash(key) }, 'All labels of this run'), ': who said what, and when.'),
    place,
  );
}
