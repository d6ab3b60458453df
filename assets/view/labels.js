// @ts-check
// What a reader says of attacks and answers: the labels that hold, and the buttons and forms that send new ones.
import { ask, button, make, textNodes } from './parts.js';

/** @param {string} base @param {object} label @returns {Promise<any>} the label as it is stored */
export async function send(base, label) {
  const headers = { 'content-type': 'application/json' };
  return (await ask(`${base}/labels`, { method: 'POST', headers, body: JSON.stringify(label) })).label;
}

/** Who said it, when and why. @param {any} label */
function origin({ who, at, note }) {
  const why = note === undefined ? [] : [': ', ...textNodes(note)];
  return [...textNodes(who), `, ${at.slice(0, 10)}`, ...why];
}

/** @param {unknown} error */
const problem = (error) => (error instanceof Error ? error.message : String(error));

/** True where a label holds; one that was withdrawn has no value. @param {any} label */
const holds = (label) => label !== null && label.value !== null;

/**
 * Two buttons, of which the pressed one says what holds; pressed again, it withdraws.
 * @param {string} base
 * @param {{ title: string, words: string, name: string }} said words before the buttons; what a press is about
 * @param {readonly (readonly [words: string, value: string])[]} choices
 * @param {{ label: any, wish: object }} present the label that holds, and a new one without its value
 * @param {(label: any) => void} [done]
 */
function pressGroup(base, { title, words, name }, choices, present, done) {
  let { label } = present;
  const note = make('span', { class: 'quiet', role: 'status' });
  const buttons = choices.map(([says, value]) => {
    const element = button(says, async () => {
      const isWithdrawn = holds(label) && label.value === value;
      try {
        label = await send(base, { ...present.wish, value: isWithdrawn ? null : value });
        show();
        done?.(label);
      } catch (error) {
        note.textContent = problem(error);
      }
    });
    element.setAttribute('aria-label', `${name} is ${says}`);
    return /** @type {const} */ ([value, element]);
  });
  function show() {
    for (const [value, element] of buttons)
      element.setAttribute('aria-pressed', String(holds(label) && label.value === value));
    note.replaceChildren(...(holds(label) ? origin(label) : []));
  }
  show();
  return make(
    'div',
    { class: 'truth', role: 'group', 'aria-label': title },
    make('span', { class: 'quiet' }, words),
    ...buttons.map(([, element]) => element),
    note,
  );
}

/**
 * Whether an answer is unsafe in truth.
 * @param {string} base @param {string} name of the answer, for a screen reader
 * @param {{ attack: number, response: any }} answer
 * @param {(label: any) => void} [done]
 */
export function truthGroup(base, name, { attack, response: { position, subject, label } }, done) {
  const wish = { kind: 'verdict', attack, response: position, subject };
  const words = { title: `Label of ${name}`, words: 'In truth:', name };
  const choices = /** @type {const} */ ([['unsafe', 'unsafe'], ['safe', 'safe']]);
  return pressGroup(base, words, choices, { label, wish }, done);
}

/**
 * A fold in which the verdict of each judge alone can be called right or wrong; null where no judge scored the answer.
 * @param {string} base @param {string} name of the answer, for a screen reader
 * @param {{ attack: number, response: any }} answer
 * @param {() => void} done
 */
export function judgesFold(base, name, { attack, response: { position, subject, verdicts } }, done) {
  const scored = verdicts.filter((/** @type {any} */ { says }) => says !== undefined);
  if (scored.length === 0) return null;
  const groups = () =>
    scored.map((/** @type {any} */ { judge, says, label }) => {
      const other = says === 'unsafe' ? 'safe' : 'unsafe';
      const verdict = `verdict of ${judge} on ${name}`;
      const words = { title: `Label of the ${verdict}`, words: `${judge} says ${says}:`, name: verdict };
      const wish = { kind: 'verdict', attack, response: position, subject, judge };
      return pressGroup(base, words, [['right', says], ['wrong', other]], { label, wish }, done);
    });
  const summary = make('summary', { 'aria-label': `One judge alone, ${name}` }, 'One judge alone');
  const fold = make('details', { class: 'judges' }, summary);
  fold.addEventListener('toggle', () => {
    if (fold.open && fold.childElementCount === 1) fold.append(...groups());
  });
  return fold;
}

/**
 * One thing to say of an attack: a field, a note, and buttons that store or withdraw it.
 * @param {{ title: string, field: string, type: string, first: string, withNote: boolean }} words
 * @param {any} label that holds now, or null
 * @param {(value: string | null, note: string) => Promise<void>} store
 */
function labelForm({ title, field, type, first, withNote }, label, store) {
  const input = make('input', { type, name: 'value', min: type === 'number' ? '0' : undefined, maxlength: '200' });
  input.required = true;
  input.value = holds(label) ? first : '';
  const note = make('input', { type: 'text', name: 'note', maxlength: '2000' });
  const status = make('span', { class: 'quiet', role: 'status' });
  /** @param {string | null} value */
  const act = async (value) => {
    try {
      await store(value, note.value);
      status.textContent = value === null ? 'Withdrawn.' : 'Saved.';
      if (value === null) input.value = '';
      note.value = '';
    } catch (error) {
      status.textContent = problem(error);
    }
  };
  const form = make(
    'form',
    { class: 'label-form', 'aria-label': title },
    make('label', {}, field, input),
    withNote ? make('label', {}, 'Note', note) : null,
    make('p', { class: 'controls' }, make('button', {}, 'Save'), ' ', button('Withdraw', () => act(null)), ' ', status),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    act(input.value.trim());
  });
  return form;
}

/** The labels of an attack in words. @param {any} labels @param {any} way */
function labelWords({ duplicate, wording }, way) {
  const parts = [
    ...(holds(duplicate) ? [[`duplicate of attack ${duplicate.original ?? 'that is no longer here'} (`, duplicate]] : []),
    ...(holds(wording) ? [['wording “', ...textNodes(wording.name), '” (', wording]] : []),
    ...(holds(way?.label ?? null) ? [['way “', ...textNodes(way.label.name), '” (', way.label]] : []),
  ];
  return parts.flatMap((part, i) => {
    const label = part.at(-1);
    return [...(i === 0 ? [] : [' · ']), ...part.slice(0, -1), ...origin(label), ')'];
  });
}

/**
 * The labels of an attack, and a fold with the forms that change them.
 * @param {string} base @param {any} attack @param {() => Promise<any>} load the attack with its way
 * @param {(cause: any) => Node} causeVeil
 */
export function attackLabels(base, { id, labels }, load, causeVeil) {
  const line = make('p', { class: 'quiet label-line' });
  const forms = make('div', {});
  const fold = make('details', { class: 'labels' }, make('summary', { 'aria-label': `Label attack ${id}` }, 'Label'), forms);
  const now = { ...labels };
  /** @type {any} */
  let way = null;
  const show = () => line.replaceChildren(...labelWords(now, way));
  show();

  /** @param {'duplicate' | 'wording'} kind @param {string | null} value @param {string} note */
  const store = async (kind, value, note) => {
    const given = kind === 'duplicate' && value !== null ? Number(value) : value;
    now[kind] = await send(base, { kind, attack: id, subject: now.subject, value: given, note });
    show();
  };
  fold.addEventListener('toggle', async () => {
    if (!fold.open || forms.childElementCount > 0) return;
    try {
      way = (await load()).way;
    } catch (error) {
      forms.replaceChildren(problem(error));
      return;
    }
    show();
    const { duplicate, wording } = now;
    const number = { field: 'Repeats attack number', type: 'number', first: String(duplicate?.original ?? '') };
    const name = { field: 'Name of its wording', type: 'text', first: (wording?.name ?? []).join(''), withNote: true };
    forms.replaceChildren(
      labelForm({ title: `Attack ${id} is a duplicate`, ...number, withNote: false }, duplicate, (value, note) =>
        store('duplicate', value, note),
      ),
      labelForm({ title: `Wording of attack ${id}`, ...name }, wording, (value, note) => store('wording', value, note)),
      ...(way === null ? [] : [wayForm(id)]),
    );
  });

  /** @param {number} attack */
  function wayForm(attack) {
    const words = { title: `Way of attack ${attack}`, field: 'Name of its way', type: 'text', withNote: true };
    const form = labelForm({ ...words, first: (way.label?.name ?? []).join('') }, way.label, async (value, note) => {
      way.label = await send(base, { kind: 'way', subject: way.subject, value, note });
      show();
    });
    form.prepend(make('div', {}, make('span', { class: 'quiet' }, 'Its cause:'), causeVeil(way.cause)));
    return form;
  }
  return [line, fold];
}
