import { expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { WordCoverage } from '../../../src/learning/proposals/word-coverage.ts';

const texts = (...all: string[]) => all.map((text) => ({ text }));
function order(...all: string[]): string[] {
  const coverage = new WordCoverage(texts(...all));
  return all.map(() => coverage.take()?.text as string);
}

test('takes the candidate with the most runs of words, then the one with the most that nobody asked', () => {
  expect(order('sell a mill', 'pass the crown now', 'pass the crown')).toEqual([
    'pass the crown now',
    'sell a mill',
    'pass the crown',
  ]);
});

test('a run that many candidates hold comes before one that is there once', () => {
  expect(order('red', 'blue', 'blue')).toEqual(['blue', 'red', 'blue']);
});

test('the earlier candidate wins a tie, and case and spaces do not count', () => {
  expect(order('one two', 'four five')).toEqual(['one two', 'four five']);
  expect(order('ONE  two', 'one two', 'six seven')).toEqual(['ONE  two', 'six seven', 'one two']);
});

test('has none left after the last', () => {
  const coverage = new WordCoverage(texts('a', '', 'a'));
  expect([1, 2, 3].map(() => coverage.take()?.text).sort()).toEqual(['', 'a', 'a']);
  expect(coverage.take()).toBeUndefined();
});

test('is the plain greedy order, found without looking at every candidate again', () => {
  const stream = randomStream(1, 'coverage');
  const all = Array.from({ length: 200 }, () =>
    Array.from({ length: 1 + stream.nextInt(5) }, () => 'abcdefgh'[stream.nextInt(8)]).join(' '),
  );
  const runsOf = (text: string) => {
    const words = text.split(' ');
    return [...new Set(words.flatMap((_, at) => [1, 2, 3].map((n) => words.slice(at, at + n).join(' '))))];
  };
  const held = new Map<string, number>();
  for (const text of all) for (const run of runsOf(text)) held.set(run, (held.get(run) ?? 0) + 1);
  const asked = new Map<string, number>();
  const left = [...all.keys()];
  const expected: string[] = [];
  while (left.length > 0) {
    const worth = (i: number) =>
      runsOf(all[i] as string).reduce(
        (sum, run) => sum + Math.fround(Math.sqrt(held.get(run) as number)) / (1 + (asked.get(run) ?? 0)) ** 2,
        0,
      );
    const best = left.reduce((a, b) => (worth(b) > worth(a) + 1e-9 ? b : a));
    left.splice(left.indexOf(best), 1);
    for (const run of runsOf(all[best] as string)) asked.set(run, (asked.get(run) ?? 0) + 1);
    expected.push(all[best] as string);
  }
  const values = order(...all);
  expect(values).toEqual(expected);
});
