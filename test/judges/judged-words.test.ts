import { describe, expect, it } from 'vitest';
import { HashedVocabulary, termHash, termHashHex } from '../../src/judges/judged-words.ts';

/** FNV-1a as it is defined, on one 64-bit number. */
function fnv1a(term: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(term)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

const TERMS = ['', 'a', 'foobar', 'idiot', 'pokémon', '迷惑', '\ud800', 'x'.repeat(1000), '😀'];

describe('term hash', () => {
  it('is FNV-1a 64 over UTF-8', () => {
    expect(termHashHex('')).toBe('cbf29ce484222325');
    expect(termHashHex('a')).toBe('af63dc4c8601ec8c'); // published test vectors
    expect(termHashHex('foobar')).toBe('85944171f73967e8');
    for (const term of TERMS) expect(BigInt(`0x${termHashHex(term)}`)).toBe(fnv1a(term));
  });

  it('finds each term at its position, and no other', () => {
    const words = Array.from({ length: 5000 }, (_, i) => `word${i}`);
    const hashes = Uint32Array.from(words.flatMap((word) => [termHash(word).low, termHash(word).high]));
    const vocabulary = new HashedVocabulary(hashes);
    expect(vocabulary.size).toBe(5000);
    for (const [i, word] of words.entries()) expect(vocabulary.indexOf(word)).toBe(i);
    for (let i = 5000; i < 10_000; i++) expect(vocabulary.indexOf(`word${i}`)).toBe(-1);
  });

  it('tells terms apart that share the lower half of their hash', () => {
    const { low, high } = termHash('idiot');
    const vocabulary = new HashedVocabulary(Uint32Array.of(low, high ^ 1, low, high));
    expect(vocabulary.indexOf('idiot')).toBe(1);
    expect(new HashedVocabulary(new Uint32Array(0)).indexOf('idiot')).toBe(-1);
  });
});
