import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HistoryBleu } from '../../src/metrics/history-bleu.ts';
import { countNgrams } from '../../src/metrics/ngrams.ts';
import { selfBleuOf } from '../../src/metrics/self-bleu.ts';

const text = fc.array(fc.constantFrom('red', 'blue', 'green', 'sun'), { maxLength: 9 }).map((words) => words.join(' '));

test('the mean over texts, each against a history of all others, is self-BLEU', () => {
  fc.assert(
    fc.property(fc.array(text, { minLength: 2, maxLength: 6 }), (texts) => {
      const scores = texts.map((own, i) => {
        const history = new HistoryBleu();
        for (const [j, other] of texts.entries()) if (j !== i) history.add(other);
        return history.score(own);
      });
      const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
      expect(mean).toBeCloseTo(selfBleuOf(countNgrams(texts, 5)).value as number, 12);
    }),
  );
});

test('a double scores 1, a text without a known word 0, as does any text before the history begins', () => {
  const history = new HistoryBleu();
  expect(history.score('the sun is red today')).toBe(0);
  history.add('the sun is red today');
  expect(history.score('the sun is red today')).toBeCloseTo(1, 12);
  expect(history.score('Nothing else')).toBe(0);
  expect(history.score('')).toBe(0);
});

describe('a history that is full', () => {
  const words = (from: number) => Array.from({ length: 10 }, (_, i) => `word${from + i}`).join(' '); // 40 n-grams
  const texts = Array.from({ length: 40 }, (_, i) => words(10 * i));

  test('forgets its oldest texts only, and scores the latest as an endless one does', () => {
    const [bounded, endless] = [new HistoryBleu(400), new HistoryBleu()];
    for (const text of texts) {
      bounded.add(text);
      endless.add(text);
    }
    expect(bounded.score(texts[0] as string)).toBe(0);
    expect(endless.score(texts[0] as string)).toBeCloseTo(1, 12);
    for (const text of texts.slice(-10)) expect(bounded.score(text)).toBe(endless.score(text));
  });

  test('forgets nothing before two halves are full, and repeated texts do not fill it', () => {
    const history = new HistoryBleu(400);
    for (const text of [...texts.slice(0, 20), ...texts.slice(10, 20), ...texts.slice(10, 20)]) history.add(text);
    for (const text of texts.slice(0, 20)) expect(history.score(text)).toBeCloseTo(1, 12);
  });

  test('keeps the largest count of each n-gram while its table grows', () => {
    const history = new HistoryBleu();
    history.add('red red red red red');
    for (let i = 0; i < 200; i++) history.add(words(10 * i));
    expect(history.score('red red red red red')).toBeCloseTo(1, 12);
    expect(history.score('red red red red red red')).toBeLessThan(1);
  });
});
