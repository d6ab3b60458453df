import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { loadTokenizerFromFolder } from '../../src/models/tokenizer/load-tokenizer.ts';
import { createTokenizer, type Tokenizer } from '../../src/models/tokenizer/tokenizer.ts';
import { GrowthLimit } from '../../src/models/tokenizer/tokenizer-growth.ts';
import { readTokenizerDefinition } from '../../src/models/tokenizer/tokenizer-json.ts';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import { createTinyCampaign } from '../stages/tiny-campaign.ts';

vi.setConfig({ testTimeout: 300_000 });

/** A limit of one second, with room for a machine that is busy with other tests. */
const PATIENCE_MS = 60_000;
const ROLES = { bosId: undefined, padId: undefined, endIds: [] };
const MODEL = { type: 'BPE', vocab: { a: 0, b: 1, '▁': 2, '<0x41>': 3 }, merges: [], byte_fallback: false };

function tokenizerOf(fields: object): Tokenizer {
  return createTokenizer(readTokenizerDefinition({ model: MODEL, ...fields }), ROLES);
}

const split = (Regex: string) => ({
  pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
});
const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content });
const bomb = replace({ String: 'a' }, 'a'.repeat(512));

/** The error of `work`, which must come in good time and be one that names the file. */
function refusalOf(work: () => unknown): FloodgateError {
  const start = performance.now();
  let failure: unknown;
  try {
    work();
  } catch (error) {
    failure = error;
  }
  expect(performance.now() - start).toBeLessThan(PATIENCE_MS);
  expect(failure).toBeInstanceOf(FloodgateError);
  return failure as FloodgateError;
}

describe('a Unigram vocabulary of tokens that begin with each other', () => {
  const nested = (depth: number) => ({
    model: { type: 'Unigram', vocab: Array.from({ length: depth }, (_, i) => ['a'.repeat(i + 1), -i]), unk_id: 0 },
  });

  test('is refused when it nests deeper than any honest one', () => {
    expect(refusalOf(() => tokenizerOf(nested(1000))).message).toMatch(/nests 1000 tokens.*at most 128/);
  });

  test('is read otherwise, in pieces that bound the memory of one lattice', () => {
    const text = 'a'.repeat(6_000); // a lattice of 600,000 nodes if it were one piece
    const tokenizer = tokenizerOf(nested(100));
    const ids = tokenizer.encode(text, { addSpecial: false, parseSpecial: false });
    expect(ids.reduce((length, id) => length + id + 1, 0)).toBe(text.length);
  });
});

describe('a pattern that runs for ever', () => {
  test.each([
    ['a code point in braces', '(\\u{61}+)+$', 'a'.repeat(60)],
    ['a hexadecimal code point in braces', '(\\x{61}+)+$', 'a'.repeat(60)],
    ['alternatives in a row', `${'(?:a|a)'.repeat(40)}c`, 'a'.repeat(100)],
    ['three stars', 'a*a*a*c', 'a'.repeat(5_000)],
  ])('is stopped: %s', (_name, pattern, text) => {
    const tokenizer = tokenizerOf(split(pattern));
    const failure = refusalOf(() => tokenizer.encode(`${text}b`));
    expect(failure).toMatchObject({ code: 'format', message: expect.stringMatching(/pre-tokenizer: stopped after/) });
    expect(failure.hint).toMatch(/tokenizer\.json/);
  });

  test('is stopped in a normalizer, in a decoder, and in the normalizer of an added token', () => {
    const pattern = { Regex: '(\\u{61}+)+$' };
    const text = `${'a'.repeat(60)}b`;
    const normalizer = replace(pattern, '');
    expect(refusalOf(() => tokenizerOf({ normalizer }).encode(text)).message).toMatch(/normalizer: stopped/);
    const decoder = { type: 'Sequence', decoders: [{ type: 'Fuse' }, replace(pattern, '')] };
    const ids = [...Array.from({ length: 60 }, () => 0), 1];
    expect(refusalOf(() => tokenizerOf({ decoder }).decode(ids)).message).toMatch(/decoder: stopped/);
    const added_tokens = [{ id: 9, content: text, normalized: true }];
    expect(refusalOf(() => tokenizerOf({ normalizer, added_tokens })).message).toMatch(/normalizer: stopped/);
  });

  test('that is honest is used, and gives what the same pattern gives directly', () => {
    const rare = tokenizerOf(split('[ab]+|[^ab]'));
    expect(rare.encode('abba-ab')).toEqual([0, 1, 1, 0, 0, 1]);
  });
});

describe('a text that grows', () => {
  test('in normalizers is refused before it is made', () => {
    const tokenizer = tokenizerOf({ normalizer: { type: 'Sequence', normalizers: [bomb, bomb, bomb] } });
    expect(refusalOf(() => tokenizer.encode('a'))).toMatchObject({
      code: 'format',
      message: expect.stringMatching(/normalizer.*characters/),
    });
    const empty = tokenizerOf({ normalizer: replace({ Regex: 'x*' }, 'a'.repeat(512)) });
    expect(refusalOf(() => empty.encode('a'.repeat(1_900_000))).code).toBe('format');
  });

  test('in decoders is refused before it is made', () => {
    const tokenizer = tokenizerOf({ decoder: { type: 'Sequence', decoders: [bomb, bomb, bomb] } });
    expect(refusalOf(() => tokenizer.decode([0]))).toMatchObject({
      code: 'format',
      message: expect.stringMatching(/decoder.*characters/),
    });
    const many = Array.from({ length: 600_000 }, () => 0);
    expect(refusalOf(() => tokenizerOf({ decoder: bomb }).decode(many)).code).toBe('format');
  });

  test('in decoding is refused when its tokens are huge', () => {
    const model = { ...MODEL, vocab: { ['x'.repeat(1_000_000)]: 0, a: 1 } };
    const tokenizer = tokenizerOf({ model, decoder: { type: 'Fuse' } });
    expect(tokenizer.decode([0])).toHaveLength(1_000_000);
    expect(refusalOf(() => tokenizer.decode(Array.from({ length: 600 }, () => 0))).code).toBe('format');
  });

  test('in pre-tokenizers is refused: byte characters of byte characters', () => {
    const step = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
    const pretokenizers = Array.from({ length: 60 }, () => step);
    const tokenizer = tokenizerOf({ pre_tokenizer: { type: 'Sequence', pretokenizers } });
    expect(refusalOf(() => tokenizer.encode('é'))).toMatchObject({
      code: 'format',
      message: expect.stringMatching(/pre-tokenizer.*characters/),
    });
  });

  test('as added tokens do is refused when the file is loaded', () => {
    const added_tokens = Array.from({ length: 20_000 }, (_, id) => ({ id: id + 9, content: `${id}-a` }));
    const normalizer = replace({ String: 'a' }, 'a'.repeat(512));
    expect(refusalOf(() => tokenizerOf({ normalizer, added_tokens })).code).toBe('format');
    const long = Array.from({ length: 3_000 }, (_, id) => ({
      id: id + 9,
      content: `${id}-${'a'.repeat(500)}`,
      normalized: false,
    }));
    expect(refusalOf(() => tokenizerOf({ added_tokens: long })).message).toMatch(/added tokens/);
  });

  test('as honest ones do is read', () => {
    const normalizers = [{ type: 'Prepend', prepend: '▁' }, replace({ String: ' ' }, '▁')];
    const spaces = tokenizerOf({ normalizer: { type: 'Sequence', normalizers } });
    expect(spaces.encode(' '.repeat(50_000))).toHaveLength(50_001);
    const compatibility = tokenizerOf({ normalizer: { type: 'NFKD' } });
    expect(() => compatibility.encode('\ufdfa'.repeat(5_000))).not.toThrow(); // 18 characters each
    expect(() => new GrowthLimit('normalizer', 2_000_000).check(6_000_000)).not.toThrow(); // Chinese for BERT
    const bytes = tokenizerOf({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false } });
    expect(() => bytes.encode('漢'.repeat(20_000))).not.toThrow();
    const decoders = [replace({ String: '▁' }, ' '), { type: 'ByteFallback' }, { type: 'Fuse' }];
    const fallback = tokenizerOf({ decoder: { type: 'Sequence', decoders } });
    expect(fallback.decode([2, 0, 3, 1])).toBe(' aAb');
  });
});

describe('a hostile model folder', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'hostile-tokenizer-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('is loaded, and its first text is refused', async () => {
    writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify({ model: MODEL, ...split('(\\u{61}+)+$') }));
    const { tokenizer } = await loadTokenizerFromFolder(folder);
    expect(refusalOf(() => tokenizer.encode(`${'a'.repeat(60)}b`)).code).toBe('format');
  });

  test('with a chat template that runs for ever is opened without it', async () => {
    writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify({ model: MODEL }));
    const doubled = "{% set ns = namespace(x='ab') %}{% for i in range(24) %}{% set ns.x = ns.x + ns.x %}{% endfor %}";
    writeFileSync(path.join(folder, 'chat_template.jinja'), `${doubled}{% for i in range(9999) %}{{ ns.x.upper() }}`);
    await expect(loadTokenizerFromFolder(folder)).rejects.toMatchObject({ code: 'format' });
  });

  test('as attacker ends a run with a clear error', async () => {
    const tiny = await createTinyCampaign();
    const file = path.join(tiny.folder, 'attacker', 'tokenizer.json');
    const tokenizer = JSON.parse(readFileSync(file, 'utf8'));
    const { pre_tokenizer } = split('(\\u{61}+)+$');
    tokenizer.pre_tokenizer = { type: 'Sequence', pretokenizers: [pre_tokenizer, tokenizer.pre_tokenizer] };
    writeFileSync(file, JSON.stringify(tokenizer));
    appendFileSync(path.join(tiny.folder, 'seeds.txt'), `\n${'a'.repeat(60)}b\n`);
    const start = performance.now();
    const run = startRun(
      { config: tiny.config(['attackers=[sft]']), runsFolder: tiny.runsFolder, name: 'hostile', ifTaken: 'refuse' },
      tiny.io(),
    );
    await expect(run).rejects.toMatchObject({ code: 'format', message: expect.stringMatching(/stopped after/) });
    expect(performance.now() - start).toBeLessThan(2 * PATIENCE_MS);
    await tiny.remove();
  });
});
