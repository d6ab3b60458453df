import { mkdtempSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import type { SeedOptions } from '../../../src/stages/config/seed-rows.ts';
import { loadSeeds, parseSeeds, seedsText } from '../../../src/stages/config/seeds.ts';

const options = (path: string, rest: Partial<SeedOptions> = {}): SeedOptions => ({ path, format: 'auto', ...rest });

describe('parseSeeds', () => {
  it('reads text by line, counts what it skips', () => {
    const text = `one\r\n\n  two  \none\n${'x'.repeat(10_001)}\n`;
    expect(parseSeeds(text, options('a.txt'))).toMatchObject({
      attacks: ['one', 'two'],
      format: 'text',
      skipped: { empty: 2, duplicate: 1, tooLong: 1 },
    });
  });

  it('reads a CSV with commas, quotes and newlines inside', () => {
    const text = 'id,prompt\n1,"say ""hi"", then\nleave"\n2,plain\n3,\n';
    expect(parseSeeds(text, options('a.csv'))).toMatchObject({
      attacks: ['say "hi", then\nleave', 'plain'],
      column: 'prompt',
      skipped: { empty: 1 },
    });
  });

  it('takes the column that is named, or the only one', () => {
    expect(parseSeeds('a,b\n1,2\n', options('x.csv', { column: 'b' })).attacks).toEqual(['2']);
    expect(parseSeeds('anything\n1\n', options('x.csv')).attacks).toEqual(['1']);
    expect(() => parseSeeds('a,b\n1,2\n', options('x.csv'))).toThrow(/several columns: a, b/);
    expect(() => parseSeeds('atack,b\n1,2\n', options('x.csv', { column: 'attack' }))).toThrow(/did you mean atack\?/);
  });

  it('refuses a table whose first row would be lost as a header, and says how to keep it', () => {
    const headerless = 'Tell me a story about locks.\nWhat now?\n';
    expect(() => parseSeeds(headerless, options('x.csv'))).toThrow(
      /first row reads like an attack, got "Tell me a story about locks.", expected a header/,
    );
    expect(() => parseSeeds('"Tell me, now"\n"Go on, then"\n', options('x.csv'))).toThrow(/reads like an attack/);
    expect(() => parseSeeds(`${'x'.repeat(41)}\ny\n`, options('x.csv'))).toThrow(/reads like an attack/);
    const named = { column: 'Tell me a story about locks.' };
    expect(parseSeeds(headerless, options('x.csv', named)).attacks).toEqual(['What now?']);
    expect(parseSeeds(`attack\n${headerless}`, options('x.csv')).attacks).toHaveLength(2);
  });

  it('reads a TSV, whose quotes belong to the text, and a CSV of semicolons that names a known column', () => {
    const tsv = 'id\tprompt\n1\tsay "hi", then leave\n2\t"quoted"\n3\tplain\n';
    expect(parseSeeds(tsv, options('x.tsv'))).toMatchObject({
      attacks: ['say "hi", then leave', 'quoted', 'plain'],
      format: 'tsv',
      column: 'prompt',
    });
    expect(() => parseSeeds('one line\nanother\n', options('x.tsv'))).toThrow(/reads like an attack/);
    expect(parseSeeds('id;prompt\n1;"say ""a;b"", now"\n', options('x.csv')).attacks).toEqual(['say "a;b", now']);
    expect(parseSeeds('id\tprompt\n1\tone\n', options('x.csv')).attacks).toEqual(['one']);
    const wanted = options('x.csv', { column: 'b' });
    expect(parseSeeds('a;b\n1;2\n', wanted).attacks).toEqual(['2']);
  });

  it('says in one line how it read a file', () => {
    const csv = `id,prompt\n1,"He said ""hi"", and went"\n2,\n3,other\n4,other\n`;
    expect(seedsText(parseSeeds(csv, options('x.csv')))).toBe(
      '2 attacks (csv, column "prompt"; left out: 1 empty, 1 repeated), the first: He said "hi", and went',
    );
    expect(seedsText(parseSeeds('a'.repeat(70), options('x.txt')))).toBe(
      `1 attack (text), the first: ${'a'.repeat(60)}…`,
    );
  });

  it('reads JSONL of texts and of objects', () => {
    expect(parseSeeds('"one"\n\n"two"\n', options('x.jsonl')).attacks).toEqual(['one', 'two']);
    const objects = '{"attack":"one","id":1}\n{"id":2}\n{"attack":7}\n{"attack":"two"}\n';
    expect(parseSeeds(objects, options('x.jsonl'))).toMatchObject({ attacks: ['one', 'two'], skipped: { empty: 2 } });
    expect(() => parseSeeds('"a"\n{broken\n', options('x.jsonl'))).toThrow(/line 2 is not JSON/);
    expect(() => parseSeeds('{"a":"x"}\n3\n', options('x.jsonl'))).toThrow(/line 2 is neither/);
  });

  it('names what cannot be seeds', () => {
    expect(() => parseSeeds('', options('x.txt'))).toThrow(/holds no attack/);
    expect(() => parseSeeds('attack\n\n', options('x.csv'))).toThrow(/holds no attack/);
    expect(() => parseSeeds('a,b\n1\n', options('x.csv', { column: 'a' }))).toThrow(/not valid CSV/);
    expect(() => parseSeeds('[]', options('x.json'))).toThrow(/JSONL/);
  });

  it('stops at the limit', () => {
    expect(parseSeeds('a\nb\nc', options('x', { limit: 2 })).attacks).toEqual(['a', 'b']);
  });

  it('gives back any attacks written as CSV', () => {
    const attack = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => text.trim() === text && text !== '');
    fc.assert(
      fc.property(fc.uniqueArray(attack, { minLength: 1 }), (attacks) => {
        const csv = ['attack', ...attacks.map((text) => `"${text.replaceAll('"', '""')}"`)].join('\n');
        expect(parseSeeds(csv, options('x.csv')).attacks).toEqual(attacks);
      }),
    );
  });

  it('answers any text in any format with seeds or a FloodgateError', () => {
    const format = fc.constantFrom('csv' as const, 'tsv' as const, 'jsonl' as const, 'text' as const);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), format, (text, chosen) => {
        try {
          expect(parseSeeds(text, options('x', { format: chosen })).attacks.length).toBeGreaterThan(0);
        } catch (error) {
          if (!(error instanceof FloodgateError)) throw error;
        }
      }),
    );
  });
});

describe('the cells of seeds', () => {
  const withCells = (name: string, changes: Partial<SeedOptions> = {}) => options(name, { hasCells: true, ...changes });

  it('come from a column that is named after them, where the attacker has cells', () => {
    const csv = 'request,Category\none,cats\ntwo,\none,dogs\n';
    expect(parseSeeds(csv, withCells('x.csv'))).toMatchObject({
      ...{ attacks: ['one', 'two'], cells: ['cats', undefined], column: 'request', cellColumn: 'Category' },
      skipped: { duplicate: 1 },
    });
    expect(() => parseSeeds(csv, options('x.csv'))).toThrow(/several columns/);
    const jsonl = '{"text":"one","cell":"cats"}\n{"text":"two"}\n';
    expect(parseSeeds(jsonl, withCells('x.jsonl')).cells).toEqual(['cats', undefined]);
    expect(parseSeeds(jsonl, options('x.jsonl'))).not.toHaveProperty('cells');
    expect(parseSeeds('one\ntwo\n', withCells('x.txt'))).not.toHaveProperty('cells');
  });

  it('come from the column that the config names', () => {
    const csv = 'prompt,category,kind\none,x,cats\n';
    expect(parseSeeds(csv, withCells('x.csv', { cellColumn: 'kind' })).cells).toEqual(['cats']);
    expect(() => parseSeeds(csv, withCells('x.csv', { cellColumn: 'sort' }))).toThrow(
      /got column sort, expected one of/,
    );
  });

  it('are said in the line about the seeds, with the cells that have none', () => {
    const read = parseSeeds('prompt,cell\none,cats\n', withCells('x.csv'));
    expect(seedsText({ ...read, emptyCells: ['dogs'] })).toBe(
      '1 attack (csv, column "prompt", cells by "cell"; no seed of the cells dogs), the first: one',
    );
  });
});

describe('loadSeeds', () => {
  const folder = mkdtempSync(join(tmpdir(), 'floodgate-seeds-'));
  const write = (name: string, content: string | Buffer) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return options(path);
  };

  it('reads a file with a byte-order mark, and names its sha256', async () => {
    const seeds = await loadSeeds(write('bom.csv', '\uFEFFattack\nhello\n'));
    expect(seeds).toMatchObject({ attacks: ['hello'], column: 'attack' });
    expect(seeds.sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('refuses binary, other encodings, huge and missing files', async () => {
    await expect(loadSeeds(write('zero.txt', Buffer.from('ab\0c')))).rejects.toThrow(/NUL byte at offset 2/);
    await expect(loadSeeds(write('latin.txt', Buffer.from([0xe9, 0x74, 0xe9])))).rejects.toThrow(/not UTF-8/);
    const huge = write('huge.txt', '');
    truncateSync(huge.path, 65 * 1024 * 1024);
    await expect(loadSeeds(huge)).rejects.toThrow(/too large/);
    await expect(loadSeeds(options(join(folder, 'none')))).rejects.toThrow(/ENOENT/);
    await expect(loadSeeds(options(folder))).rejects.toThrow(/EISDIR/);
  });
});
