import fc from 'fast-check';
import { expect, test } from 'vitest';
import { countJsonValues } from '../../../src/models/formats/json-file.ts';
import { parseSafetensorsHeader } from '../../../src/models/formats/safetensors-header.ts';
import { parseTokenizerJson } from '../../../src/models/tokenizer/tokenizer-json.ts';

/** Number of lists, objects and values in them. */
function valuesIn(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1;
  return 1 + Object.values(value).reduce((sum: number, item) => sum + valuesIn(item), 0);
}

test('no JSON text has more values than were counted, whatever its strings hold', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4, stringUnit: 'binary' }), (text) => {
      expect(countJsonValues(Buffer.from(text))).toBeGreaterThanOrEqual(valuesIn(JSON.parse(text)) / 2);
    }),
  );
  expect(countJsonValues(Buffer.from('["a,[{\\"", {"b": [1, 2]}]'))).toBe(6);
});

test('a file of empty lists is refused before it is parsed', () => {
  const lists = `[${'[],'.repeat(9_000_000)}1]`;
  expect(() => parseSafetensorsHeader(Buffer.from(lists), 2 ** 40)).toThrow(/values, expected at most/);
  expect(() => parseTokenizerJson(lists)).toThrow(/values, expected at most/);
});
