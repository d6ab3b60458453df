import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTextVault, inertJson } from '../../src/report/sections/text-vault.ts';
import { Html, html } from '../../src/report/words/html.ts';

/** Any character, and often those that matter. */
const unit = fc.oneof(
  fc.constantFrom(
    '<',
    '>',
    '"',
    "'",
    '&',
    '/',
    '\\',
    '\n',
    '\u202e',
    '\u2066',
    '\u200b',
    '\u2028',
    '\ud800',
    '\ufe0f',
    '\u00ad',
  ),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
);
const texts = fc.string({ unit, maxLength: 60 });

describe('html', () => {
  it('lets no hole end a text or a quoted attribute, whatever stands in it', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const { markup } = html`<a title="${text}">${[text, html`<b>${text}</b>`]}</a>`;
        const bare = markup.replace(/^<a title="[^"<>]*">[^<>"]*<b>[^<>"]*<\/b><\/a>$/s, '');
        expect(bare).toBe('');
        expect(markup).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200b\u00ad]|\ufe0f/);
      }),
    );
  });

  it('escapes once, takes its own markup as it is, and drops what is undefined', () => {
    expect(html`${'a&b'}|${undefined}|${3}|${new Html('<i>')}`.markup).toBe('a&amp;b||3|<i>');
    expect(html`${'one\ntwo\u202e'}`.markup).toBe('one\ntwo\\u{202e}');
    expect(html`${'v\u{e0141}\u3164'}`.markup).toBe('v\\u{e0141}\\u{3164}');
  });
});

describe('the data block', () => {
  it('holds any text in printable ASCII without markup, and gives it back', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const json = inertJson([text]);
        expect(json).toMatch(/^[\x20-\x7e]*$/);
        expect(json).not.toMatch(/[<>&]/);
        expect(JSON.parse(json)).toEqual([text]);
      }),
    );
  });

  it('keeps escapes apart from the same letters written by a model', () => {
    const vault = createTextVault(true);
    expect(vault.veil('a\u202eb \\u{202e}\nc', 'attack', 'attack 1').markup).not.toMatch(/a.*b .*c/s);
    const [, json = ''] = vault.dataBlock().markup.match(/id="texts">(.*)<\/script>/) ?? [];
    expect(JSON.parse(json)).toEqual([['a', '\\u{202e}', 'b \\u{202e}\nc']]);
  });
});
