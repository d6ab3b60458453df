import { expect, test } from 'vitest';
import { AskedRuns } from '../../../src/learning/proposals/coverage.ts';

const texts = (...all: string[]) => all.map((text) => ({ text }));
const chosen = (asked: AskedRuns, count: number, ...all: string[]) =>
  asked.choose(texts(...all), count).map(({ text }) => text);

test('takes the candidate with the most runs of words that nobody asked', () => {
  const asked = new AskedRuns();
  expect(chosen(asked, 1, 'pass the crown')).toEqual(['pass the crown']);
  // The same words in another order have new pairs and triples, but no new word.
  expect(chosen(asked, 2, 'pass the crown', 'crown the pass', 'sell a mill')).toEqual([
    'sell a mill',
    'crown the pass',
  ]);
});

test('counts its own choices before the next one', () => {
  expect(chosen(new AskedRuns(), 2, 'a b c d', 'a b c d', 'e f g')).toEqual(['a b c d', 'e f g']);
});

test('a run that was asked twice is worth less than one that was asked once', () => {
  const asked = new AskedRuns();
  chosen(asked, 3, 'red', 'red', 'blue');
  expect(chosen(asked, 1, 'red', 'blue')).toEqual(['blue']);
});

test('the earlier candidate wins a tie, and case and spaces do not count', () => {
  const asked = new AskedRuns();
  expect(chosen(asked, 1, 'one two', 'two one')).toEqual(['one two']);
  expect(chosen(asked, 1, 'ONE  two', 'six')).toEqual(['six']);
});

test('returns all candidates where there are no more than wanted', () => {
  expect(chosen(new AskedRuns(), 5, 'a', 'a', '').sort()).toEqual(['', 'a', 'a']);
});
