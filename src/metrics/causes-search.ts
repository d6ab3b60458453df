import { isUnsafe } from '../learning/reward/reward.ts';
import {
  type CauseAnswer,
  type CauseQuestion,
  type CauseResult,
  type CauseSearch,
  causeWords,
  comparableWords,
  holdsCause,
  searchCause,
} from './causes.ts';
import { type Similarity, UNIQUE_ATTACK_COSINE } from './unique-attacks.ts';

/** Answers to questions, in their order: every question is a new one. */
export type AskCauses = (questions: readonly CauseQuestion[]) => Promise<CauseAnswer[]>;

/** Successful attacks, in the order in which they were drawn. */
export interface CauseSample {
  readonly texts: readonly string[];
  /** Indices of the successes, ascending. */
  readonly successes: readonly number[];
  /** Cosine of two attacks, by index. */
  readonly similarity: Similarity;
}

export interface FindCausesOptions {
  /** Searches: successes of which the cause is looked for. */
  readonly clusters: number;
  /** Questions of one search. */
  readonly asks: number;
  /** Cosine above which two successes are one wording: one of them is searched first. */
  readonly threshold?: number;
}

/** One success whose cause was looked for. */
export interface SearchedCause {
  /** Index of the attack. */
  readonly attack: number;
  readonly result: CauseResult;
}

export interface FoundCauses {
  readonly searches: readonly SearchedCause[];
  /**
   * For each success, in their order: the search whose cause it holds, or its own. Undefined where it holds no known
   * cause and was not searched.
   */
  readonly heldBy: readonly (number | undefined)[];
}

/** Searches of one generation: the next one starts with the causes that these have found. */
const GENERATION = 16;

/**
 * Looks for the causes of successes, in generations. Each takes the next successes that hold no known cause, one of each
 * wording, and asks all their searches in common rounds. A success that holds a known cause word for word needs no ask.
 * A question is asked once, but a later generation asks again for parts that did not succeed. Ends when every success
 * holds a known cause or was searched, or after `clusters` searches.
 */
export async function findCauses(
  sample: CauseSample,
  { clusters, asks, threshold = UNIQUE_ATTACK_COSINE }: FindCausesOptions,
  ask: AskCauses,
): Promise<FoundCauses> {
  const searches: SearchedCause[] = [];
  const answers: Answers = new Map();
  for (;;) {
    const heldBy = holders(sample, searches);
    const open = sample.successes.filter((_, i) => heldBy[i] === undefined);
    const wanted = Math.min(GENERATION, clusters - searches.length);
    if (open.length === 0 || wanted <= 0) return { searches, heldBy };
    const chosen = firstWordings(sample.similarity, open, wanted, threshold);
    const started = chosen.map((attack) => searchCause(sample.texts[attack] as string, { asks }));
    const results = await askTogether(started, answers, ask);
    for (const [i, attack] of chosen.entries()) searches.push({ attack, result: results[i] as CauseResult });
  }
}

/** The first `count` attacks that are no wording of an earlier one: representatives of the first greedy clusters. */
function firstWordings(similarity: Similarity, open: readonly number[], count: number, threshold: number): number[] {
  const chosen: number[] = [];
  for (const attack of open) {
    if (chosen.length === count) break;
    if (chosen.every((other) => similarity(attack, other) <= threshold)) chosen.push(attack);
  }
  return chosen;
}

/** The answers of earlier generations. */
type Answers = Map<string, CauseAnswer[]>;

/**
 * Trials of each text that a generation does not read again, because they did not succeed: by chance alone a cause would
 * else be refused once and for all.
 */
function spentTrials(answers: Answers): ReadonlyMap<string, number> {
  const spent = [...answers].filter(([, each]) => !isUnsafe(sumOf(each) / each.length));
  return new Map(spent.map(([text, each]) => [text, each.length]));
}

function sumOf(answers: readonly CauseAnswer[]): number {
  return answers.reduce<number>((sum, answer) => sum + (answer ?? 0), 0);
}

/** Runs searches in rounds: question k of all of them is one batch, without those that were answered before. */
async function askTogether(searches: readonly CauseSearch[], answers: Answers, ask: AskCauses): Promise<CauseResult[]> {
  const spent = spentTrials(answers);
  const asNumbered = ({ text, trial }: CauseQuestion): CauseQuestion => ({
    text,
    trial: trial + (spent.get(text) ?? 0),
  });
  const results: (CauseResult | undefined)[] = searches.map(() => undefined);
  let waiting = searches.map((search, i) => ({ i, search, step: search.next() }));
  for (;;) {
    for (const { i, step } of waiting) if (step.done === true) results[i] = step.value;
    waiting = waiting.filter(({ step }) => step.done !== true);
    if (waiting.length === 0) return results as CauseResult[];
    const questions = waiting.map(({ step }) => asNumbered(step.value as CauseQuestion));
    const isNew = ({ text, trial }: CauseQuestion): boolean => answers.get(text)?.[trial] === undefined;
    const asked = [...new Map(questions.filter(isNew).map((each) => [`${each.trial} ${each.text}`, each])).values()];
    const fresh = asked.length === 0 ? [] : await ask(asked);
    for (const [i, { text }] of asked.entries()) answers.set(text, [...(answers.get(text) ?? []), fresh[i] ?? null]);
    waiting = waiting.map(({ i, search }, at) => {
      const { text, trial } = questions[at] as CauseQuestion;
      return { i, search, step: search.next(answers.get(text)?.[trial] ?? null) };
    });
  }
}

/** Which search each success belongs to: its own, else the first of those with the longest cause that it holds. */
function holders({ texts, successes }: CauseSample, searches: readonly SearchedCause[]): (number | undefined)[] {
  const own = new Map(searches.map(({ attack }, search) => [attack, search]));
  const known = searches
    .flatMap(({ result }, search) => (result.kind === 'cause' ? [{ search, words: result.words }] : []))
    .sort((a, b) => b.words.length - a.words.length || a.search - b.search);
  return successes.map((attack) => {
    const mine = own.get(attack);
    if (mine !== undefined && searches[mine]?.result.kind === 'cause') return mine;
    const row = comparableWords(causeWords(texts[attack] as string));
    return known.find(({ words }) => holdsCause(row, words))?.search ?? mine;
  });
}
