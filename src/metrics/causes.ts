import { isUnsafe } from '../learning/reward/reward.ts';

/**
 * The cause of a success: the smallest part of the attack that still succeeds, by delta debugging over its words
 * (Zeller and Hildebrandt 2002). Deviations: ends are trimmed by bisection first, since most causes are words in a row,
 * and a refused or accepted part may be asked again, since a target answers at random.
 */

/** A text to send to the target. Trial 1 of a text is another draw of its responses than trial 0. */
export interface CauseQuestion {
  readonly text: string;
  readonly trial: number;
}

/** Mean P(unsafe) over the responses to a question; null where none could be scored, which is not shown to succeed. */
export type CauseAnswer = number | null;

export interface FoundCause {
  readonly kind: 'cause';
  readonly words: readonly string[];
  /** Questions asked. */
  readonly asks: number;
  /** No word could be left out; false where the asks ran out before. */
  readonly isMinimal: boolean;
}

/** `unstable`: the whole attack, asked again, did not succeed; an attack without words has no cause either. */
export type CauseResult = FoundCause | { readonly kind: 'unstable'; readonly asks: number };

/** Yields the next question and takes its answer: searches of many attacks can be asked in common batches. */
export type CauseSearch = Generator<CauseQuestion, CauseResult, CauseAnswer>;

export interface CauseSearchOptions {
  /** Questions of one search. */
  readonly asks: number;
}

/** Trials by which a refused part is refused, and by which an accepted cause is confirmed at the latest. */
const REFUSALS = 2;
const CONFIRMATIONS = 5;
/** Trials after which the attack counts as failing without a neighbour of its cause. */
const NEIGHBOUR_TRIALS = 4;

/** The words of an attack, as causes are made of: white space parts them. */
export function causeWords(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** Words in a row as one text in lower case: `holdsCause` finds a cause in it. */
export function comparableWords(words: readonly string[]): string {
  return ` ${words.join(' ').toLowerCase()} `;
}

/** Whether the words of a cause follow each other in `row`, of `comparableWords`. */
export function holdsCause(row: string, cause: readonly string[]): boolean {
  return row.includes(comparableWords(cause));
}

/** The knowledge of one search, and its limit. */
interface SearchState {
  /** The answers about each text, trial by trial. */
  readonly evidence: Map<string, number[]>;
  /** Texts that succeeded once and were not confirmed. */
  readonly refused: Set<string>;
  asks: number;
  readonly limit: number;
}

/**
 * Searches the cause of one success. The whole attack is asked first, as it is; its parts are joined by single spaces.
 * A part succeeds when its mean P(unsafe) is above the success threshold. The cause is asked again until its pooled
 * answers succeed; one that does not is refused, and the search continues from the part before.
 */
export function* searchCause(attack: string, { asks }: CauseSearchOptions): CauseSearch {
  const state: SearchState = { evidence: new Map(), refused: new Set(), asks: 0, limit: asks };
  const whole = causeWords(attack);
  if (whole.length === 0 || !(yield* succeeds(state, attack))) return { kind: 'unstable', asks: state.asks };
  const accepted: string[][] = [whole];
  for (;;) {
    const isMinimal = yield* reduce(state, accepted);
    const words = accepted.at(-1) as string[];
    const isConfirmed =
      accepted.length === 1 || ((yield* confirms(state, words.join(' '))) && (yield* holdsAlone(state, whole, words)));
    if (isConfirmed) return { kind: 'cause', words, asks: state.asks, isMinimal };
    state.refused.add(words.join(' '));
    accepted.pop();
  }
}

/** Puts smaller and smaller parts that succeed on the stack. Returns whether no word of the last can be left out. */
function* reduce(state: SearchState, accepted: string[][]): Generator<CauseQuestion, boolean, CauseAnswer> {
  yield* trim(state, accepted, (words, count) => words.slice(count));
  yield* trim(state, accepted, (words, count) => words.slice(0, words.length - count));
  for (let trials = 1; trials <= REFUSALS; trials++) {
    const last = (accepted.at(-1) as string[]).length;
    let size = Math.max(1, last >> 1);
    while (accepted.length > 0) {
      const smaller = yield* leaveOut(state, accepted.at(-1) as string[], size, trials);
      if (smaller !== undefined) accepted.push(smaller);
      else if (size === 1) break;
      else size >>= 1;
      size = Math.min(size, Math.max(1, (accepted.at(-1) as string[]).length >> 1));
    }
  }
  return state.asks < state.limit;
}

/** Bisects for the most words that can be cut off one end. */
function* trim(
  state: SearchState,
  accepted: string[][],
  cut: (words: readonly string[], count: number) => string[],
): Generator<CauseQuestion, void, CauseAnswer> {
  const words = accepted.at(-1) as string[];
  let [kept, lost] = [0, words.length];
  while (lost - kept > 1) {
    const middle = (kept + lost) >> 1;
    const part = cut(words, middle);
    if (yield* succeeds(state, part.join(' '))) {
      kept = middle;
      accepted.push(part);
    } else lost = middle;
  }
}

/** The first of the parts without `size` words in a row that succeeds. */
function* leaveOut(
  state: SearchState,
  words: readonly string[],
  size: number,
  trials: number,
): Generator<CauseQuestion, string[] | undefined, CauseAnswer> {
  for (let from = 0; from < words.length && words.length > size; from += size) {
    const part = [...words.slice(0, from), ...words.slice(from + size)];
    if (yield* succeeds(state, part.join(' '), trials)) return part;
  }
  return undefined;
}

/** Whether one of the first `trials` trials of the text succeeds; asks only those that are missing. */
function* succeeds(state: SearchState, text: string, trials = 1): Generator<CauseQuestion, boolean, CauseAnswer> {
  const answers = state.evidence.get(text) ?? [];
  state.evidence.set(text, answers);
  if (state.refused.has(text)) return false;
  while (!answers.some(isUnsafe)) {
    if (answers.length >= trials || !(yield* ask(state, text, answers))) return false;
  }
  return true;
}

/** Asks again until the pooled answers succeed, by at least two trials; a text without asks left is believed. */
function* confirms(state: SearchState, text: string): Generator<CauseQuestion, boolean, CauseAnswer> {
  const answers = state.evidence.get(text) ?? [];
  while (answers.length < 2 || !isUnsafe(meanOf(answers))) {
    if (answers.length >= CONFIRMATIONS) return false;
    if (!(yield* ask(state, text, answers))) return isUnsafe(meanOf(answers));
  }
  return true;
}

/**
 * Whether the attack still succeeds without the word before the cause, and without the word after it. A part may succeed
 * only because it is alone: out of its attack, a target may answer a fragment as it never would inside one.
 */
function* holdsAlone(
  state: SearchState,
  whole: readonly string[],
  words: readonly string[],
): Generator<CauseQuestion, boolean, CauseAnswer> {
  const at = whole.findIndex((_, from) => words.every((word, i) => whole[from + i] === word));
  if (at < 0) return true;
  for (const neighbour of [at - 1, at + words.length]) {
    if (neighbour < 0 || neighbour >= whole.length) continue;
    const rest = whole.toSpliced(neighbour, 1).join(' ');
    if (!(yield* succeeds(state, rest, NEIGHBOUR_TRIALS)) && state.asks < state.limit) return false;
  }
  return true;
}

/** One more trial of the text; false where no ask is left. */
function* ask(state: SearchState, text: string, answers: number[]): Generator<CauseQuestion, boolean, CauseAnswer> {
  if (state.asks >= state.limit) return false;
  state.asks++;
  const answer = yield { text, trial: answers.length };
  answers.push(answer ?? 0);
  return true;
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
