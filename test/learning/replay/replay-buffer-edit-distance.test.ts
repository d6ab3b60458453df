import fc from 'fast-check';
import { distance as levenshtein } from 'fastest-levenshtein';
import { expect, test } from 'vitest';
import { boundedEditDistance, editDistance } from '../../../src/learning/replay/near-duplicates.ts';

const tokens = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 14 });
const asText = (ids: readonly number[]) => ids.map((id) => String.fromCharCode(97 + id)).join('');

test('edit distance equals an independent implementation', () => {
  fc.assert(
    fc.property(tokens, tokens, (a, b) => {
      expect(editDistance(a, b)).toBe(levenshtein(asText(a), asText(b)));
    }),
    { numRuns: 500, seed: 1 },
  );
});

test('the bounded form is exact up to its limit and says limit + 1 beyond it', () => {
  fc.assert(
    fc.property(tokens, tokens, fc.integer({ min: 0, max: 15 }), (a, b, limit) => {
      const whole = levenshtein(asText(a), asText(b));
      expect(boundedEditDistance(a, b, limit)).toBe(whole <= limit ? whole : limit + 1);
    }),
    { numRuns: 2000, seed: 2 },
  );
});
