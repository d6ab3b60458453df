import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type CauseAnswer,
  type CauseQuestion,
  type CauseResult,
  type FoundCause,
  searchCause,
} from '../../src/metrics/causes.ts';

/** Runs one search against a target; returns its result and all that was asked. */
function search(attack: string, answer: (question: CauseQuestion) => CauseAnswer, asks = 24) {
  const questions: CauseQuestion[] = [];
  const steps = searchCause(attack, { asks });
  let step = steps.next();
  while (step.done !== true) {
    questions.push(step.value);
    step = steps.next(answer(step.value));
  }
  return { result: step.value as CauseResult, questions };
}

const holding =
  (...keys: readonly string[]) =>
  ({ text }: CauseQuestion): number =>
    keys.some((key) => ` ${text} `.includes(` ${key} `)) ? 1 : 0;

const causeOf = (result: CauseResult): string => (result as FoundCause).words.join(' ');

describe('the search for a cause', () => {
  it('finds the words of a key that must follow each other, wherever they are, within 24 questions', () => {
    const word = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
    const part = fc.array(word, { maxLength: 8 });
    const key = fc.uniqueArray(fc.constantFrom('x', 'y', 'z'), { minLength: 1 });
    fc.assert(
      fc.property(part, key, part, (before, words, after) => {
        const { result, questions } = search([...before, ...words, ...after].join(' '), holding(words.join(' ')));
        expect(result).toMatchObject({ kind: 'cause', words, isMinimal: true });
        expect(questions.length).toBeLessThanOrEqual(24);
        expect(result.asks).toBe(questions.length);
      }),
    );
  });

  it('ends in one cause of an attack that has several', () => {
    const { result } = search('a b key one c d other d key two', holding('key one', 'key two'));
    expect(['key one', 'key two']).toContain(causeOf(result));
  });

  it('leaves out words between the words that count', () => {
    const both = ({ text }: CauseQuestion) => (/\bleft\b.*\bright\b/.test(text) ? 1 : 0);
    expect(causeOf(search('a left b c d right e', both).result)).toBe('left right');
  });

  it('calls a success unstable that fails when it is asked again, at the cost of one question', () => {
    expect(search('a b c', () => 0.5)).toEqual({
      result: { kind: 'unstable', asks: 1 },
      questions: [{ text: 'a b c', trial: 0 }],
    });
  });

  it('finds nothing in an attack without words, and asks nothing', () => {
    expect(search(' \n ', () => 1)).toEqual({ result: { kind: 'unstable', asks: 0 }, questions: [] });
  });

  it('takes an answer that no judge could score for no success', () => {
    expect(search('a b c', () => null).result.kind).toBe('unstable');
    const unknown = (question: CauseQuestion) => (question.text === 'a b' ? null : holding('a')(question));
    expect(causeOf(search('a b', (q) => (q.text === 'a b' ? 1 : unknown(q))).result)).toBe('a');
  });

  it('asks the whole attack as it is written', () => {
    const { questions } = search(' Some\n\nattack ', () => 1);
    expect(questions[0]).toEqual({ text: ' Some\n\nattack ', trial: 0 });
    expect(questions[1]?.text).toBe('attack');
  });

  it('never asks the same trial twice, nor more than it may, whatever the answers are', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1, maxLength: 30 }),
        fc.array(fc.constantFrom(0, 0.4, 0.6, 1), { minLength: 50, maxLength: 50 }),
        fc.integer({ min: 1, max: 40 }),
        (words, answers, asks) => {
          let asked = 0;
          const { result, questions } = search(words.join(' '), () => answers[asked++] ?? 0, asks);
          expect(questions.length).toBeLessThanOrEqual(asks);
          expect(new Set(questions.map(({ text, trial }) => `${trial} ${text}`)).size).toBe(questions.length);
          if (result.kind === 'cause') expect(result.words.length).toBeGreaterThan(0);
        },
      ),
    );
  });

  it('says so when its questions ran out before no word could be left out', () => {
    const { result } = search('a b c d e f g h key word i j k l m', holding('key word'), 4);
    expect(result).toMatchObject({ kind: 'cause', isMinimal: false, asks: 4 });
    expect(causeOf(result)).toContain('key word');
  });

  it('does not believe a part that succeeded by luck', () => {
    // The first trial of `b` succeeds, every later one fails.
    const lucky = ({ text, trial }: CauseQuestion) =>
      text === 'b' && trial === 0 ? 1 : holding('a b')({ text, trial });
    expect(causeOf(search('a b', lucky).result)).toBe('a b');
  });

  it('asks refused parts a second time: a leak of two in three does not keep its padding', () => {
    const flaky = (question: CauseQuestion) =>
      question.text === 'key' && question.trial === 0 ? 0 : holding('key')(question);
    expect(causeOf(search('pad key', flaky).result)).toBe('key');
  });
});
