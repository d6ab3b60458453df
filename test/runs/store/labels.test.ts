import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addLabels, parseWho, readLabels, withdrawLabel } from '../../../src/runs/store/label-store.ts';
import { answerKey, attackKey, MAX_NOTE, type NewLabel, originalOf } from '../../../src/runs/store/labels.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-labels-'));
  path = join(folder, 'labels.db');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const answer = answerKey('attack', 'answer');
const verdict = (value: 'unsafe' | 'safe' | null, more: object = {}): NewLabel =>
  ({ kind: 'verdict', subject: answer, value, ...more }) as NewLabel;
const duplicate = (of: string, original: string | null): NewLabel => ({
  kind: 'duplicate',
  subject: attackKey(of),
  value: original === null ? null : attackKey(original),
});

describe('labels', () => {
  it('are none where the file is missing or was never begun', () => {
    expect(readLabels(path).all).toEqual([]);
    writeFileSync(path, '');
    expect(readLabels(path).all).toEqual([]);
    expect(addLabels(path, [verdict('safe')])).toHaveLength(1);
  });

  it('keep who, when and what; a later row replaces the earlier one in effect, and both stay', () => {
    const before = Date.now();
    addLabels(path, [verdict('unsafe', { note: 'a threat', attack: 7, response: 0 })], 'ada');
    addLabels(path, [verdict('safe')], 'ben');
    const labels = readLabels(path);
    expect(labels.find('verdict', answer)).toMatchObject({ value: 'safe', who: 'ben', note: null, judge: null });
    expect(labels.all).toHaveLength(1);
    expect(labels.history).toMatchObject([
      { id: 1, value: 'unsafe', who: 'ada', note: 'a threat', attack: 7, response: 0 },
      { id: 2, value: 'safe', who: 'ben' },
    ]);
    expect(Date.parse(labels.history[0]?.at ?? '')).toBeGreaterThanOrEqual(before);
    expect(Date.parse(labels.history[1]?.at ?? '')).toBeLessThanOrEqual(Date.now());
  });

  it('are withdrawn by a row of their own', () => {
    addLabels(path, [verdict('unsafe')]);
    addLabels(path, [verdict(null)]);
    expect(readLabels(path).find('verdict', answer)).toBeUndefined();
    expect(readLabels(path).history).toHaveLength(2);
  });

  it('are taken back by their number too, by one more row and without any text of the run', () => {
    expect(() => withdrawLabel(path, 1)).toThrow(/no label with the number 1 holds/);
    expect(readdirSync(folder)).toEqual([]);
    addLabels(path, [
      verdict('unsafe', { note: 'a threat' }),
      verdict('safe', { judge: 'rude', attack: 7, response: 0 }),
    ]);
    addLabels(path, [duplicate('b', 'a')]);
    expect(withdrawLabel(path, 2, 'ben')).toMatchObject({ id: 4, who: 'ben', judge: 'rude', value: null, attack: 7 });
    const labels = readLabels(path);
    expect(labels.all.map(({ id }) => id)).toEqual([1, 3]);
    expect(labels.find('verdict', answer, 'rude')?.value).toBe('unsafe');
    for (const gone of [2, 4, 5]) expect(() => withdrawLabel(path, gone)).toThrow(/holds/);
    withdrawLabel(path, 3);
    expect(readLabels(path).find('duplicate', attackKey('b'))).toBeUndefined();
    expect(readLabels(path).history).toHaveLength(5);
  });

  it('of one judge hold for it alone, and come before those of all judges', () => {
    addLabels(path, [verdict('unsafe'), verdict('safe', { judge: 'rude' })]);
    const labels = readLabels(path);
    expect(labels.find('verdict', answer, 'rude')?.value).toBe('safe');
    expect(labels.find('verdict', answer, 'harm')?.value).toBe('unsafe');
    expect(labels.find('verdict', answer)?.value).toBe('unsafe');
    addLabels(path, [verdict(null, { judge: 'rude' })]);
    expect(readLabels(path).find('verdict', answer, 'rude')?.value).toBe('unsafe');
  });

  it('tell an answer by its text and that of its attack, and no two pairs alike', () => {
    expect(answerKey('a', 'bc')).not.toBe(answerKey('ab', 'c'));
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), fc.string(), (a, b, c, d) => {
        fc.pre(a !== c || b !== d);
        return answerKey(a, b) !== answerKey(c, d);
      }),
    );
  });

  it('lead from a duplicate to the attack that repeats none, and never in a circle', () => {
    addLabels(path, [duplicate('c', 'b'), duplicate('b', 'a')]);
    const labels = readLabels(path);
    expect(originalOf(labels, attackKey('c'))).toBe(attackKey('a'));
    expect(originalOf(labels, attackKey('a'))).toBeUndefined();
    for (const [of, original] of [
      ['a', 'a'],
      ['a', 'c'],
      ['b', 'c'],
    ] as const)
      expect(() => addLabels(path, [duplicate(of, original)])).toThrow(/duplicate of itself/);
    expect(() => addLabels(path, [duplicate('x', 'y'), duplicate('y', 'x')])).toThrow(/duplicate of itself/);
    expect(readLabels(path).history).toHaveLength(2);
    addLabels(path, [duplicate('b', null), duplicate('a', 'c')]);
    expect(originalOf(readLabels(path), attackKey('a'))).toBe(attackKey('b'));
  });

  it.each<[string, unknown]>([
    ['subject', { kind: 'verdict', subject: 'x', value: 'safe' }],
    ['value', { kind: 'verdict', subject: answer, value: 'maybe' }],
    ['value', { kind: 'way', subject: answer, value: '  ' }],
    ['note', { kind: 'way', subject: answer, value: 'x', note: 'n'.repeat(MAX_NOTE + 1) }],
    ['kind', { kind: 'opinion', subject: answer, value: 'x' }],
    ['more', { kind: 'way', subject: answer, value: 'x', more: 1 }],
  ])('with a wrong %s are refused, and nothing of the batch is stored', (field, wrong) => {
    expect(() => addLabels(path, [verdict('safe'), wrong as NewLabel])).toThrow(new RegExp(`label: .*${field}`));
    expect(readLabels(path).history).toEqual([]);
  });

  it('hold any text, NUL included', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }), (text) => {
        fc.pre(text.trim() !== '');
        addLabels(path, [{ kind: 'way', subject: answer, value: `${text}\0`, note: text }], 'a\0b');
        const found = readLabels(path).find('way', answer);
        return found?.value === `${text}\0`.trim() && found.note === text.trim() && found.who === 'a\0b';
      }),
      { numRuns: 30 },
    );
  });

  it('are one file, whole after each row: a copy has them all', () => {
    addLabels(path, [verdict('safe')]);
    expect(readdirSync(folder)).toEqual(['labels.db']);
    cpSync(path, join(folder, 'copy.db'));
    expect(readLabels(join(folder, 'copy.db'))).toMatchObject({ all: [{ value: 'safe' }] });
  });

  it('of another program, or damaged ones, are refused and stay as they are', () => {
    writeFileSync(path, 'no database at all, only text '.repeat(100));
    for (const use of [() => readLabels(path), () => addLabels(path, [verdict('safe')])])
      expect(use).toThrow(expect.objectContaining({ code: 'store' }));
    mkdirSync(join(folder, 'folder.db'));
    expect(() => readLabels(join(folder, 'folder.db'))).toThrow(/is no file/);
    const foreign = join(folder, 'foreign.db');
    const db = new Database(foreign);
    db.exec('CREATE TABLE label (a)');
    db.close();
    expect(() => addLabels(foreign, [verdict('safe')])).toThrow(/another program/);
    const own = join(folder, 'own.db');
    addLabels(own, [verdict('safe')]);
    const broken = new Database(own);
    broken.exec("UPDATE label SET value = 'maybe'");
    broken.close();
    expect(() => readLabels(own)).toThrow(/a row that is no label/);
  });
});

it('who labels has a name of 1 to 100 characters', () => {
  expect(parseWho(' ada ')).toBe('ada');
  for (const wrong of ['', ' ', 'x'.repeat(101)]) expect(() => parseWho(wrong)).toThrow(/--who/);
});

describe('reading again', () => {
  it('sees every change of another writer, and does not read a file again that did not change', () => {
    addLabels(path, [verdict('unsafe')]);
    const first = readLabels(path);
    expect(readLabels(path)).toBe(first);
    // Of the same size, and within the same tick of the file system's clock.
    for (const value of ['safe', 'unsafe', 'safe'] as const) {
      const db = new Database(path);
      db.exec(`UPDATE label SET value = '${value}'`);
      db.close();
      expect(readLabels(path).find('verdict', answer)?.value).toBe(value);
    }
    cpSync(path, `${path}.copy`);
    rmSync(path);
    expect(readLabels(path).all).toEqual([]);
  });

  it('takes back the half row of a writer that was killed', () => {
    addLabels(path, [verdict('unsafe')]);
    const writer = new Database(path);
    writer.exec('PRAGMA cache_size = 1; BEGIN IMMEDIATE;');
    writer.exec("UPDATE label SET value = 'safe'");
    const insert = writer.prepare('INSERT INTO label (at_ms, who, kind, subject) VALUES (0, ?, ?, ?)');
    for (let i = 0; i < 200; i++) insert.run(['x'.repeat(400), 'verdict', String(i)]);
    // The pages and the journal as a kill would leave them, in another folder.
    const killed = join(folder, 'killed.db');
    cpSync(path, killed);
    cpSync(`${path}-journal`, `${killed}-journal`);
    writer.exec('ROLLBACK');
    writer.close();
    expect(statSync(killed).size).toBeGreaterThan(statSync(path).size);
    expect(readLabels(killed).all).toMatchObject([{ value: 'unsafe' }]);
    expect(addLabels(killed, [verdict('safe')])).toHaveLength(1);
    expect(readLabels(killed).history).toHaveLength(2);
  });

  it('reads what a program may write: a name that is too long is refused before it is stored', () => {
    expect(() => addLabels(path, [verdict('safe')], 'x'.repeat(101))).toThrow(/--who/);
    expect(readLabels(path).history).toEqual([]);
  });
});
