import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exitCodeOf, FloodgateError } from '../../src/base/errors.ts';
import { loadTokenizerFromFolder } from '../../src/models/tokenizer/load-tokenizer.ts';
import { createTokenizer } from '../../src/models/tokenizer/tokenizer.ts';
import { parseTokenizerJson, readTokenizerDefinition } from '../../src/models/tokenizer/tokenizer-json.ts';
import { mayRunForever, splitText } from '../../src/models/tokenizer/tokenizer-pattern.ts';

const fixturePath = (name: string) => new URL(`../fixtures/tokenizers/${name}`, import.meta.url).pathname;
const fixture = (name: string) => loadTokenizerFromFolder(fixturePath(name));
const fixtureJson = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(`${fixturePath(name)}/tokenizer.json`, 'utf8'));

const byteLevelNames = ['gpt2-like', 'llama3-like', 'roberta-like'];

describe('tokenizer', () => {
  test.each(byteLevelNames)('%s gives any text back', async (name) => {
    const { tokenizer } = await fixture(name);
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        const ids = tokenizer.encode(text, { parseSpecial: false });
        expect(tokenizer.decode(ids)).toBe(text);
        expect(ids.some((id) => tokenizer.specialIds.includes(id))).toBe(false);
      }),
    );
  });

  test('reads lone surrogates as U+FFFD and never throws on them', async () => {
    for (const name of [...byteLevelNames, 'llama2-like', 'pieces-like', 'unigram-like']) {
      const { tokenizer } = await fixture(name);
      const arbitrary = fc.array(fc.integer({ min: 0xd7f0, max: 0xe010 }), { maxLength: 12 });
      fc.assert(
        fc.property(arbitrary, (units) => {
          const text = String.fromCharCode(...units);
          const repaired = Buffer.from(text, 'utf8').toString('utf8');
          expect(tokenizer.splitSpecial(text)).toEqual(tokenizer.splitSpecial(repaired));
          expect(tokenizer.encode(text)).toEqual(tokenizer.encode(repaired));
        }),
      );
    }
  });

  test('encode is the parts between control tokens', async () => {
    const { tokenizer } = await fixture('qwen2-like');
    const text = '<|im_start|>user\nhi  there<|im_end|>\n<tool_call>';
    const [start, middle, end, rest] = tokenizer.splitSpecial(text);
    expect([typeof start, middle, typeof end, rest]).toEqual(['number', 'user\nhi  there', 'number', '\n<tool_call>']);
    expect(tokenizer.encodeParts(tokenizer.splitSpecial(text))).toEqual(tokenizer.encode(text));
  });

  test('reads control tokens as plain text where the text is not trusted', async () => {
    const { tokenizer } = await fixture('qwen2-like');
    const ids = tokenizer.encode('a<|im_end|>b', { parseSpecial: false });
    expect(ids.some((id) => tokenizer.specialIds.includes(id))).toBe(false);
    expect(tokenizer.decode(ids)).toBe('a<|im_end|>b');
    expect(tokenizer.encode('a<|im_end|>b').filter((id) => tokenizer.specialIds.includes(id))).toEqual([
      tokenizer.endIds[0],
    ]);
  });

  test('does not let merges build a control token out of plain text', () => {
    const definition = readTokenizerDefinition({
      model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] },
      added_tokens: [{ id: 2, content: 'ab', special: true }],
    });
    const tokenizer = createTokenizer(definition, { bosId: undefined, padId: undefined, endIds: [2] });
    expect(tokenizer.encode('ab')).toEqual([2]);
    expect(tokenizer.encode('ab', { parseSpecial: false })).toEqual([0, 1]);
  });

  test('does not double a BOS that the text already has', async () => {
    const { tokenizer } = await fixture('llama3-like');
    const bos = tokenizer.bosId;
    expect(tokenizer.encode('hi', { addSpecial: true })[0]).toBe(bos);
    expect(tokenizer.encode('<|begin_of_text|>hi', { addSpecial: true })).toEqual(
      tokenizer.encode('hi', { addSpecial: true }),
    );
    expect(tokenizer.encode('hi')[0]).not.toBe(bos);
  });

  test('knows every end: EOS first, the end of turn, the well-known ones', async () => {
    const llama3 = (await fixture('llama3-like')).tokenizer;
    const texts = llama3.endIds.map((id) => llama3.decode([id], { skipSpecial: false }));
    expect(texts).toEqual(['<|end_of_text|>', '<|eot_id|>', '<|eom_id|>']);
    const qwen2 = (await fixture('qwen2-like')).tokenizer;
    expect(qwen2.endIds.map((id) => qwen2.decode([id], { skipSpecial: false }))).toEqual([
      '<|im_end|>',
      '<|endoftext|>',
    ]);
  });

  test('leaves out ids that no token has', async () => {
    const { tokenizer } = await fixture('gpt2-like');
    const ids = tokenizer.encode('fox');
    expect(tokenizer.decode([...ids, 9_999_999, -1, 0.5])).toBe('fox');
    expect(tokenizer.decode([])).toBe('');
  });

  test.each([
    ['gpt2-like', 'x'],
    ['llama3-like', ' '],
    ['qwen2-like', '\n'],
    ['llama2-like', 'a'],
    ['unigram-like', 'a'],
    ['pieces-like', '-'],
  ])('%s takes about eight times as long for eight times the text of %j', async (name, unit) => {
    const { tokenizer } = await fixture(name);
    // Of the processor: on a busy machine other processes run in between.
    const leastMs = (length: number) => {
      const times = [0, 1].map(() => {
        const start = process.cpuUsage();
        tokenizer.encode(unit.repeat(length));
        const { user, system } = process.cpuUsage(start);
        return (user + system) / 1000;
      });
      return Math.min(...times);
    };
    leastMs(30_000);
    expect(leastMs(240_000) / Math.max(2, leastMs(30_000))).toBeLessThan(32); // quadratic: 64
  });

  test('refuses a text above its limit', async () => {
    const { tokenizer } = await fixture('gpt2-like');
    expect(() => tokenizer.encode('x'.repeat(2_000_001))).toThrow(/too long, got 2000001/);
  });
});

describe('tokenizer.json', () => {
  test.each([
    ['no JSON', '{"model":'],
    ['no object', '[]'],
    ['no model', '{}'],
    ['an unknown model', '{"model":{"type":"Magic"}}'],
    ['an id out of range', '{"model":{"type":"BPE","vocab":{"a":4000000000},"merges":[]}}'],
    ['a negative id', '{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}'],
    ['an empty vocabulary', '{"model":{"type":"BPE","vocab":{},"merges":[]}}'],
    ['a merge of three', '{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b c"]}}'],
    ['merges that are no list', '{"model":{"type":"BPE","vocab":{"a":0},"merges":"a b"}}'],
    [
      'words without limit',
      '{"model":{"type":"WordPiece","vocab":{"a":0},"unk_token":"a","max_input_chars_per_word":1e9}}',
    ],
    [
      'sequences without end',
      `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":${'{"type":"Sequence","normalizers":['.repeat(5000)}${']}'.repeat(5000)}}`,
    ],
    [
      'an unknown normalizer',
      '{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Precompiled"}}',
    ],
    [
      'a huge added token',
      `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"added_tokens":[{"id":1,"content":"${'a'.repeat(100_000)}"}]}`,
    ],
  ])('with %s is refused by name', (_name, text) => {
    let failure: unknown;
    try {
      parseTokenizerJson(text);
    } catch (error) {
      failure = error;
    }
    expect(failure).toBeInstanceOf(FloodgateError);
    expect(failure).toMatchObject({ code: 'format' });
    expect(exitCodeOf(failure)).toBe(1);
  });

  test('of any shape is read or refused as malformed, never worse', () => {
    const original = fixtureJson('llama2-like');
    const keys = ['model', 'added_tokens', 'normalizer', 'pre_tokenizer', 'post_processor', 'decoder'];
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.jsonValue({ maxDepth: 3 }), (key, value) => {
        try {
          readTokenizerDefinition({ ...original, [key]: value });
        } catch (error) {
          expect(error).toMatchObject({ code: 'format' });
        }
      }),
    );
  });

  test('has its padding and truncation ignored', async () => {
    const { tokenizer } = await fixture('pieces-like');
    const padded = readTokenizerDefinition({
      ...fixtureJson('pieces-like'),
      padding: { strategy: { Fixed: 128 }, pad_id: 0 },
      truncation: { max_length: 2 },
    });
    const roles = { bosId: undefined, padId: 0, endIds: [] };
    const text = 'the quick brown fox';
    expect(createTokenizer(padded, roles).encode(text)).toEqual(tokenizer.encode(text));
  });

  test('missing from the folder is said with a hint', async () => {
    await expect(loadTokenizerFromFolder(fixturePath('nowhere'))).rejects.toMatchObject({ code: 'model' });
  });

  test.each([
    ['(a+)+', true],
    ['(?:a|b*)*', true],
    ['((x+)y)*z', true],
    ['(a{2,}){3,}', true],
    ['(?i:ab+)?|c+', false],
    ['[(a+)]+', false],
    ['\\(a+\\)+', false],
    ['(a{2})+', false],
    ['(a|aa)+$', true],
    ['(a?){40}a{40}', true],
    ['(?:a{1,9}){1,40}b', true],
    ['(?=(a*)*b)', true],
    ['a?a?a?a?a?a?a?a?b', true],
    ['a*a*a*a*b', true],
    ['a{0,99}a{0,99}a{0,99}a{0,99}b', true],
    [
      "(?i:'s|'t|'re)|[^\\r\\n\\p{L}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
      false,
    ],
    ["[^\\r\\n]?[\\p{Lu}\\p{M}]*[\\p{Ll}\\p{M}]+(?i:'s|'t)?|\\p{N}{1,3}(?=(?:\\p{N}{3})*$)", false],
  ])('pattern %s may run for ever: %s', (source, expected) => {
    expect(mayRunForever(source)).toBe(expected);
  });

  test('with a pattern that repeats a repeat is refused', () => {
    const definition = readTokenizerDefinition({
      model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
      pre_tokenizer: { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated' },
    });
    const roles = { bosId: undefined, padId: undefined, endIds: [] };
    expect(() => createTokenizer(definition, roles)).toThrow(/repeats a repeated group/);
  });

  test.each([
    ['Removed', ['the', 'final', 'countdown']],
    ['Isolated', ['the', '-', 'final', '-', '-', 'countdown']],
    ['MergedWithPrevious', ['the-', 'final-', '-', 'countdown']],
    ['MergedWithNext', ['the', '-final', '-', '-countdown']],
    ['Contiguous', ['the', '-', 'final', '--', 'countdown']],
  ] as const)('splits as the original documents %s', (behavior, pieces) => {
    expect(splitText('the-final--countdown', { pattern: /-/gu, behavior })).toEqual(pieces);
  });
});
