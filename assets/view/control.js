// @ts-check
// The work on a run: how it goes, and the buttons that pause, stop and resume it.
import { ask, make, RequestError } from './parts.js';

const MEANINGS = {
  pause: 'Pause after the step in hand',
  stop: 'Stop at once',
  resume: 'Resume',
};

/** @param {number} seconds */
const timeText = (seconds) =>
  seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;

/** How the work goes, in one line. @param {any} overview */
function workText({ status, work }) {
  const calls = `${work.targetCalls.toLocaleString('en-US')} target calls`;
  const money = work.money === null ? '' : ` · ${work.money.toFixed(2)} ${work.currency} paid`;
  const stage =
    status !== 'running' || work.stage === null
      ? ''
      : ` · ${work.stage}${work.secondsLeft === null ? '' : `: about ${timeText(work.secondsLeft)} left`}`;
  return `${calls}${money}${stage}`;
}

/** @param {number} count @param {string} words */
const counted = (count, words) => `${count.toLocaleString('en-US')} ${words}${count === 1 ? '' : 's'}`;

/** What the stage in hand has found so far; nothing where none is. @param {any} work */
function foundText({ found }) {
  if (found === null) return '';
  const { loss, successRate, texts, wordings } = found;
  const learning = [...(loss === null ? [] : [`loss ${loss}`]), ...(successRate === null ? [] : [`success rate ${successRate}`])];
  if (texts === null) return learning.length === 0 ? '' : `Now: ${learning.join(', ')}.`;
  const many = `${texts.isFull ? '' : 'at least '}${counted(texts.count, 'different successful text')}`;
  const looked =
    wordings === null
      ? ''
      : `, ${counted(wordings.count, 'wording')} among ${counted(wordings.of, 'held-out attack')} after ${counted(wordings.updates, 'update')}`;
  const all = [...learning, `${many}${looked}`].join(', ');
  return `So far, by the training judge: ${all}. Ways are counted after the evaluation, by their causes.`;
}

/**
 * @param {string} base address of the run
 * @param {any} overview
 * @param {() => Promise<unknown>} refresh
 */
export function controlPart(base, overview, refresh) {
  const line = make('p', { class: 'quiet' }, '');
  const found = make('p', { class: 'quiet found' }, '');
  const said = make('p', { role: 'status' }, '');
  const buttons = make('p', { class: 'buttons', tabindex: '-1' });
  let isAsking = false;
  /** @param {'pause' | 'stop' | 'resume'} action */
  const button = (action) => {
    const element = /** @type {HTMLButtonElement} */ (make('button', { type: 'button' }, MEANINGS[action]));
    element.addEventListener('click', async () => {
      // Not `disabled`, which would take the keyboard away.
      if (isAsking) return;
      isAsking = true;
      said.textContent = action === 'resume' ? 'Resuming …' : 'Stopping …';
      try {
        await ask(`${base}/control`, { method: 'POST', body: JSON.stringify({ action }) });
        said.textContent = action === 'resume' ? 'A process of its own works on it now.' : 'The process was told.';
      } catch (error) {
        said.textContent = error instanceof RequestError ? error.message : String(error);
      }
      isAsking = false;
      await refresh();
    });
    return element;
  };
  const all = { pause: button('pause'), stop: button('stop'), resume: button('resume') };
  /** @param {any} now */
  const draw = (now) => {
    line.textContent = workText(now);
    found.textContent = foundText(now.work);
    found.hidden = found.textContent === '';
    const isRunning = now.status === 'running';
    const isOpen = now.status === 'interrupted' || now.status === 'failed';
    const shown = isRunning ? [all.pause, all.stop] : isOpen ? [all.resume] : [];
    if (shown.length === buttons.children.length && shown.every((each) => buttons.contains(each))) return;
    const hadFocus = buttons.contains(document.activeElement);
    buttons.replaceChildren(...shown);
    // A button that goes takes the keyboard with it. None of the new ones gets it: a second Enter would press that one.
    if (hadFocus) buttons.focus({ preventScroll: true });
  };
  draw(overview);
  return { element: make('div', { class: 'work' }, line, found, buttons, said), draw };
}
