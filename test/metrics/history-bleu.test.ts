import fc from 'fast-check';
import { expect, test } from 'vitest';
import { countNgrams } from '../../src/metrics/ngrams.ts';
import { HistoryBleu, selfBleuOf } from '../../src/metrics/self-bleu.ts';

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
