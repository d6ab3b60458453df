import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { GgufValue } from '../../src/models/formats/gguf.ts';
import { loadTokenizerFromFolder, tokenizerFromGguf } from '../../src/models/tokenizer/load-tokenizer.ts';
import { mergesOfScores } from '../../src/models/tokenizer/sentencepiece-bpe.ts';
import { readGgufTokenizer } from '../../src/models/tokenizer/tokenizer-gguf.ts';
import { parseModel } from '../../src/models/tokenizer/tokenizer-json.ts';
import { createTokenizerModel } from '../../src/models/tokenizer/tokenizer-model.ts';

interface TokenizerFile {
  readonly model: { readonly vocab: Record<string, number>; readonly merges: readonly (readonly [string, string])[] };
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
}

const fixturePath = (name: string) => new URL(`../fixtures/tokenizers/${name}`, import.meta.url).pathname;

/** The metadata that a converter would write for a fixture's tokenizer. */
function metadataOf(name: string, pre: string): Map<string, GgufValue> {
  const file: TokenizerFile = JSON.parse(readFileSync(`${fixturePath(name)}/tokenizer.json`, 'utf8'));
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(file.model.vocab)) tokens[id] = token;
  const types: number[] = tokens.map(() => 1);
  for (const { id, content, special } of file.added_tokens) {
    tokens[id] = content;
    types[id] = special ? 3 : 4;
  }
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', pre],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', types],
    ['tokenizer.ggml.merges', file.model.merges.map((merge) => merge.join(' '))],
  ]);
}

const hardTexts: string[] = JSON.parse(
  readFileSync(new URL('../golden/models/tokenizer-smollm2.json', import.meta.url), 'utf8'),
).cases.map((item: { text: string }) => item.text);

describe('tokenizer inside a GGUF', () => {
  test.each([
    ['gpt2-like', 'gpt-2'],
    ['llama3-like', 'llama-bpe'],
    ['qwen2-like', 'qwen2'],
  ])('of %s with pre %s is the one of the model folder', async (name, pre) => {
    const fromFolder = (await loadTokenizerFromFolder(fixturePath(name))).tokenizer;
    const metadata = metadataOf(name, pre);
    if (fromFolder.bosId !== undefined) metadata.set('tokenizer.ggml.bos_token_id', fromFolder.bosId);
    metadata.set('tokenizer.ggml.eos_token_id', fromFolder.endIds[0] ?? 0);
    const fromGguf = tokenizerFromGguf(metadata).tokenizer;
    expect(fromGguf.vocabSize).toBe(fromFolder.vocabSize);
    expect([...fromGguf.endIds].sort()).toEqual([...fromFolder.endIds].sort());
    expect([...fromGguf.specialIds].sort()).toEqual([...fromFolder.specialIds].sort());
    for (const text of hardTexts) {
      const ids = fromFolder.encode(text, { addSpecial: true });
      expect(fromGguf.encode(text, { addSpecial: true })).toEqual(ids);
      expect(fromGguf.decode(ids)).toBe(fromFolder.decode(ids));
    }
  });

  test('puts BOS and EOS only where the file asks', () => {
    const metadata = metadataOf('llama3-like', 'llama-bpe');
    metadata.set('tokenizer.ggml.bos_token_id', 7).set('tokenizer.ggml.eos_token_id', 8);
    const plain = tokenizerFromGguf(metadata).tokenizer;
    expect(plain.encode('a', { addSpecial: true })).toEqual([7, ...plain.encode('a')]);
    metadata.set('tokenizer.ggml.add_bos_token', false).set('tokenizer.ggml.add_eos_token', true);
    const other = tokenizerFromGguf(metadata).tokenizer;
    expect(other.encode('a', { addSpecial: true })).toEqual([...other.encode('a'), 8]);
  });

  test('takes whole pieces from the vocabulary before merging, where the pre-tokenizer says so', () => {
    for (const [pre, isWhole] of [
      ['llama-bpe', true],
      ['gpt-2', false],
    ] as const) {
      const metadata = metadataOf('gpt2-like', pre);
      const tokens = metadata.get('tokenizer.ggml.tokens');
      const grown = Array.isArray(tokens) ? [...tokens, 'zzzz'] : [];
      metadata.set('tokenizer.ggml.tokens', grown).delete('tokenizer.ggml.token_type');
      expect(
        tokenizerFromGguf(metadata)
          .tokenizer.encode('zzzz')
          .includes(grown.length - 1),
      ).toBe(isWhole);
    }
  });

  test('takes all named ends, and unused tokens as never to be sampled', () => {
    const metadata = metadataOf('gpt2-like', 'gpt-2');
    metadata.set('tokenizer.ggml.eos_token_id', 5).set('tokenizer.ggml.eot_token_id', 6);
    const types = metadata.get('tokenizer.ggml.token_type');
    metadata.set('tokenizer.ggml.token_type', Array.isArray(types) ? types.with(9, 5) : []);
    const { tokenizer } = tokenizerFromGguf(metadata);
    expect(tokenizer.endIds.slice(0, 2)).toEqual([5, 6]);
    expect(tokenizer.specialIds).toContain(9);
  });

  test.each<[string, string, GgufValue, RegExp]>([
    ['another model', 'tokenizer.ggml.model', 'bert', /model is not supported, got bert/],
    ['a SentencePiece model without scores', 'tokenizer.ggml.model', 'llama', /scores are missing/],
    ['another pre-tokenizer', 'tokenizer.ggml.pre', 'tekken', /pre-tokenizer is not supported, got tekken/],
    ['tokens that are no list', 'tokenizer.ggml.tokens', 'a', /tokens is missing or no list of strings/],
    ['tokens that are no strings', 'tokenizer.ggml.tokens', ['a', 1], /tokens is missing or no list of strings/],
    ['types of another length', 'tokenizer.ggml.token_type', [1], /token_type does not match/],
    ['a merge of one token', 'tokenizer.ggml.merges', ['ab'], /merges/],
    [
      'an end outside the vocabulary',
      'tokenizer.ggml.eos_token_id',
      1_000_000,
      /eos_token_id is no token, got 1000000/,
    ],
  ])('with %s is refused by name', (_name, key, value, message) => {
    expect(() => tokenizerFromGguf(metadataOf('gpt2-like', 'gpt-2').set(key, value))).toThrow(message);
  });
});

interface GoldenPieces {
  readonly tokens: string[];
  readonly scores: number[];
  readonly types: number[];
  readonly cases: readonly { readonly text: string; readonly plain: number[]; readonly prefixed: number[] }[];
}

describe('SentencePiece with scores inside a GGUF', () => {
  const golden: GoldenPieces = JSON.parse(
    readFileSync(new URL('../golden/models/sentencepiece.json', import.meta.url), 'utf8'),
  );
  const metadataWith = (hasPrefix: boolean): Map<string, GgufValue> =>
    new Map<string, GgufValue>([
      ['tokenizer.ggml.model', 'llama'],
      ['tokenizer.ggml.tokens', golden.tokens],
      ['tokenizer.ggml.scores', golden.scores],
      ['tokenizer.ggml.token_type', golden.types],
      ['tokenizer.ggml.unknown_token_id', 0],
      ['tokenizer.ggml.bos_token_id', 1],
      ['tokenizer.ggml.eos_token_id', 2],
      ['tokenizer.ggml.add_space_prefix', hasPrefix],
    ]);

  test('gives the ids of the sentencepiece library, and the text back', () => {
    const { tokenizer } = tokenizerFromGguf(metadataWith(false));
    expect(golden.cases.length).toBeGreaterThan(150);
    for (const { text, plain } of golden.cases) {
      expect([text, tokenizer.encode(text, { parseSpecial: false })]).toEqual([text, plain]);
      expect(tokenizer.decode(plain)).toBe(text.replaceAll('▁', ' '));
    }
    expect(tokenizer.encode('a', { addSpecial: true })[0]).toBe(1); // a BOS is added unless the file says no
  });

  test('puts a space before the text where the file asks', () => {
    const { tokenizer } = tokenizerFromGguf(metadataWith(true));
    // llama.cpp and transformers put one after each added token too, the library does not.
    const cases = golden.cases.filter(({ text }) => !/\n|<tool>/.test(text));
    expect(cases.length).toBeGreaterThan(40);
    for (const { text, prefixed } of cases) {
      expect([text, tokenizer.encode(text, { parseSpecial: false })]).toEqual([text, prefixed]);
      expect(tokenizer.decode(prefixed)).toBe(text.replaceAll('▁', ' '));
    }
  });

  test('as ranked merges it gives the same ids, so that an exported tokenizer.json does', () => {
    const { definition } = readGgufTokenizer(metadataWith(false));
    const { model } = definition;
    if (model.type !== 'ScoredBPE') throw new TypeError(`got ${model.type}`);
    const ranked = createTokenizerModel(
      parseModel({
        type: 'BPE',
        vocab: Object.fromEntries(model.vocab),
        merges: mergesOfScores(model.scores),
        byte_fallback: true,
        fuse_unk: true,
      }),
    );
    const scored = createTokenizerModel(model);
    for (const { text } of golden.cases) {
      if (/\n|<tool>/.test(text)) continue; // added tokens, which never reach the model
      const piece = text.replaceAll(' ', '▁');
      expect([piece, scored.encodePiece(piece)]).toEqual([piece, ranked.encodePiece(piece)]);
    }
  });

  test('reads a character that neither a token nor bytes cover as the unknown token, once for a run', () => {
    const types = golden.types.map((type) => (type === 6 ? 1 : type));
    const tokens = golden.tokens.map((token, id) => (golden.types[id] === 6 ? `[[${id}]]` : token));
    const metadata = metadataWith(false).set('tokenizer.ggml.tokens', tokens).set('tokenizer.ggml.token_type', types);
    const { tokenizer } = tokenizerFromGguf(metadata);
    const a = golden.tokens.indexOf('a');
    expect(tokenizer.encode('aѪѪa', { parseSpecial: false })).toEqual([a, 0, a]);
  });

  test.each<[string, GgufValue]>([
    ['no numbers', ['a']],
    ['too few', [1, 2]],
    ['no list', 3],
  ])('scores that are %s are refused', (_name, scores) => {
    expect(() => tokenizerFromGguf(metadataWith(false).set('tokenizer.ggml.scores', scores))).toThrow(/scores/);
  });
});
