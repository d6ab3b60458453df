import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { printableJson, UNPRINTABLE, visibleEscape } from '../../src/base/unprintable.ts';

const shown = (text: string): string => text.replace(UNPRINTABLE, visibleEscape);

describe('the characters that a reader must see as escapes', () => {
  it.each([
    ['controls of the terminal', '\u001b\u0007\r\b\u0000\u007f\u009b'],
    ['marks that reorder', '\u202e\u202a\u2066\u2069\u200e\u200f\u061c'],
    ['letters without width', '\u200b\u200c\u200d\u2060\ufeff\u034f\u00ad\u180e'],
    ['blank letters', '\u115f\u1160\u17b4\u3164\uffa0\u2800'],
    ['variation selectors, which can carry a whole message', '\ufe00\ufe0f\u{e0100}\u{e01ef}\u180b'],
    ['tags and other invisible letters', '\u{e0001}\u{e0041}\u{e007f}\u{1bca0}\u{1d173}\ufff9\u{13430}'],
    ['separators', '\u2028\u2029'],
    ['halves of surrogate pairs', '\ud800'],
  ])('%s', (_what, characters) => {
    for (const character of characters) {
      const code = (character.codePointAt(0) as number).toString(16);
      expect(shown(`a${character}b`)).toBe(`a\\u{${code}}b`);
    }
  });

  it('are in no ordinary text', () => {
    for (const text of [
      'plain ASCII ~',
      'Ünïcödé',
      'Привет',
      '日本語、テスト',
      'مرحبا ٣',
      'नमस्ते',
      '한국어',
      '😀 🇩🇪',
      '…“”€',
    ]) {
      expect(shown(text)).toBe(text);
    }
  });

  it('break an emoji that is joined from several: its joiner could hide a message just as well', () => {
    expect(shown('👩‍💻 ❤️')).toBe('👩\\u{200d}💻 ❤\\u{fe0f}');
  });
});

describe('JSON for a terminal', () => {
  const hostile = fc.string({
    unit: fc.oneof(
      fc.constantFrom(
        '\u009b',
        '\u202e',
        '\u200b',
        '\ufe0f',
        '\u{e0041}',
        '\u2028',
        '\u001b',
        '\n',
        '\ud800',
        '\\',
        '"',
      ),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    ),
  });

  it('reads back as the same value, and holds nothing that a terminal obeys or hides', () => {
    fc.assert(
      fc.property(fc.dictionary(hostile, fc.oneof(hostile, fc.array(hostile))), (value) => {
        const text = printableJson(JSON.stringify(value, null, 2));
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(text.replaceAll('\n', '').match(UNPRINTABLE)).toBe(null);
      }),
    );
  });

  it('is the same to the last byte where nothing is unprintable', () => {
    const text = JSON.stringify({ text: 'Ünïcödé 😀', list: [1, null] }, null, 2);
    expect(printableJson(text)).toBe(text);
  });
});
