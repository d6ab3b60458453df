import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { lexicalDiversity } from '../../src/metrics/lexical-diversity.ts';
import { countNgrams, textTokens } from '../../src/metrics/ngrams.ts';
import { selfBleu, selfBleuAtSize, selfBleuOf } from '../../src/metrics/self-bleu.ts';
import { golden } from './golden-values.ts';

const arbitraryTexts = fc.array(
  fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 8 }).map((words) => words.join(' ')),
  { minLength: 2, maxLength: 12 },
);

test('text tokens: words with inner apostrophes, single signs, one token a character of unspaced scripts', () => {
  expect(textTokens("Don't STOP, it's 3.5!")).toEqual(["don't", 'stop', ',', "it's", '3', '.', '5', '!']);
  expect(textTokens('你好 world😀')).toEqual(['你', '好', 'world', '😀']);
  expect(textTokens('e\u0301te\u0301')).toEqual(['été']);
  expect(textTokens("'quoted'")).toEqual(["'", 'quoted', "'"]);
  expect(textTokens(' \n\t')).toEqual([]);
});

describe('self-BLEU', () => {
  test('every order equals NLTK (method 1 smoothing), doubles, empty and unrelated texts included', () => {
    const { value, byOrder } = selfBleuOf(countNgrams(golden.texts, 5));
    for (const k of [2, 3, 4, 5] as const)
      expect(byOrder?.[k]).toBeCloseTo(golden.selfBleu.byOrder[k] ?? Number.NaN, 10);
    expect(value).toBeCloseTo(golden.selfBleu.value, 10);
  });

  test('is 1 for copies of a long text, 0 without a shared word, null for one text', () => {
    expect(selfBleu(['one two three four five six', 'one two three four five six']).value).toBeCloseTo(1, 12);
    expect(selfBleu(['one two', 'three four', '']).value).toBe(0);
    expect(selfBleu(['one two'])).toMatchObject({ value: null, n: 1 });
  });

  test('does not depend on the order of the texts', () => {
    fc.assert(
      fc.property(arbitraryTexts, (texts) => {
        const value = selfBleu(texts).value ?? -1;
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThanOrEqual(1 + 1e-12);
        expect(selfBleu([...texts].reverse()).value).toBeCloseTo(value, 12);
      }),
      { seed: 10 },
    );
  });

  test('of chosen texts is that of those texts alone', () => {
    const corpus = countNgrams(golden.texts, 5);
    const chosen = [3, 9, 20, 21, 40, 60];
    const alone = selfBleu(chosen.map((i) => golden.texts[i] ?? '')).value;
    expect(selfBleuOf(corpus, chosen).value).toBeCloseTo(alone ?? Number.NaN, 12);
  });

  test('1,024 texts take one pass, not a million comparisons', () => {
    const stream = randomStream(1, 'texts');
    const texts = Array.from({ length: 1024 }, () =>
      Array.from({ length: 20 }, () => `w${stream.nextInt(300)}`).join(' '),
    );
    const started = performance.now();
    expect(selfBleu(texts).value).toBeGreaterThan(0);
    // Takes about 0.1 s; pair by pair it is minutes. The bound leaves room for a loaded machine.
    expect(performance.now() - started).toBeLessThan(5000);
  });

  test('at a size it has an interval around the value, inside [0, 1]', () => {
    const measure = selfBleuAtSize(golden.texts, { size: 40, draws: 50, stream: randomStream(2, 'self-bleu') });
    expect(measure.n).toBe(40);
    expect(measure.low).toBeLessThan(measure.value ?? -1);
    expect(measure.high).toBeGreaterThan(measure.value ?? 2);
    expect(measure.low).toBeGreaterThanOrEqual(0);
    expect(measure.high).toBeLessThanOrEqual(1);
  });
});

describe('lexical diversity', () => {
  test('equals an independent count', () => {
    const { distinct1, distinct2, vocabulary } = lexicalDiversity(golden.texts);
    expect(distinct1.value).toBeCloseTo(golden.lexical.distinct1, 12);
    expect(distinct2.value).toBeCloseTo(golden.lexical.distinct2, 12);
    expect(vocabulary.value).toBe(golden.lexical.vocabulary);
  });

  test('equals sets of joined n-grams on random texts', () => {
    fc.assert(
      fc.property(arbitraryTexts, (texts) => {
        const bigrams = texts.flatMap((text) => {
          const words = textTokens(text);
          return words.slice(1).map((word, i) => `${words[i]} ${word}`);
        });
        const expected = bigrams.length === 0 ? null : new Set(bigrams).size / bigrams.length;
        expect(lexicalDiversity(texts).distinct2.value).toEqual(expected);
      }),
      { seed: 11 },
    );
  });

  test('without tokens the shares are null', () => {
    const { distinct1, vocabulary } = lexicalDiversity(['', ' ']);
    expect([distinct1.value, vocabulary.value]).toEqual([null, 0]);
  });
});
