import fc from 'fast-check';
import { expect, test } from 'vitest';
import { countJsonValues, findRepeatedKey, parseJson } from '../../../src/models/formats/json-file.ts';
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

/** JSON text of a value in which each object may name its keys again. */
function spelledOut(value: unknown, repeated: string | undefined): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => spelledOut(item, repeated)).join(', ')}]`;
  const members = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)} :\n${spelledOut(item, repeated)}`);
  if (repeated !== undefined && Object.hasOwn(value, repeated)) members.push(`${JSON.stringify(repeated)}: 1`);
  return `{${members.join(',\t')}}`;
}

test('no key of an honest text counts as repeated, and a repeated one is found at any depth', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5, stringUnit: 'binary' }), (value) => {
      const text = spelledOut(value, undefined);
      expect(findRepeatedKey(text)).toBeUndefined();
      const firstKey = /"((?:[^"\\]|\\.)*)" :/.exec(text)?.[1];
      if (firstKey === undefined) return;
      const key = JSON.parse(`"${firstKey}"`) as string;
      expect(findRepeatedKey(spelledOut(value, key))).toBe(key);
    }),
  );
});

test('a repeated key is found among many, and written otherwise', () => {
  const many = Array.from({ length: 100 }, (_, i) => `"key${i}": {"a": 1}`).join(', ');
  expect(findRepeatedKey(`{${many}}`)).toBeUndefined();
  expect(findRepeatedKey(`{${many}, "k\\u0065y7": 0}`)).toBe('key7');
  expect(findRepeatedKey('[{"a": "b"}, {"a": "\\"a\\": "}]')).toBeUndefined();
  expect(() => parseJson('{"a": 1, "a": 1}', 'read x')).toThrow('read x: the key "a" occurs twice');
});
