import { UNPRINTABLE, visibleEscape } from '../../base/unprintable.ts';
import { Html, html } from '../words/html.ts';
import { counted } from '../words/number-words.ts';

/** Longest text kept in the page: a response of a megabyte must not make a page of a megabyte. */
const MAX_TEXT_CHARACTERS = 2000;

/**
 * A text as the page's script reads it: plain parts at even indices, visible escapes of unprintable characters at odd
 * ones. A model that writes the letters of an escape therefore cannot imitate one.
 */
export type TextParts = readonly string[];

export function toParts(text: string): TextParts {
  const parts: string[] = [''];
  let from = 0;
  for (const { 0: character, index } of text.matchAll(UNPRINTABLE)) {
    if (character === '\n' || character === '\t') continue;
    parts[parts.length - 1] += text.slice(from, index);
    parts.push(visibleEscape(character), '');
    from = index + character.length;
  }
  parts[parts.length - 1] += text.slice(from);
  return parts;
}

/** JSON in printable ASCII without `<`, `>` or `&`: inert inside a script element and in a source view. */
export function inertJson(value: unknown): string {
  const hexEscape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[<>&]|[^\x20-\x7e]/g, hexEscape);
}

/** The texts of a page that models wrote. The reader sees one only after asking for it. */
export interface TextVault {
  /**
   * Markup in place of `text`: a button that shows it, or a note that it was left out. `name` identifies it for a
   * screen reader.
   */
  veil(text: string, what: 'attack' | 'answer' | 'cause', name: string): Html;
  /** The data block with every veiled text; empty when texts are left out. */
  dataBlock(): Html;
  readonly count: number;
  readonly isEmpty: boolean;
}

/** The button that shows every text of the page, and the reason why they are hidden; empty without texts. */
export function showAllButton(vault: TextVault): Html {
  if (vault.isEmpty) return html``;
  return html`<p class="controls"><button type="button" id="reveal-all" data-count="${vault.count}">Show all ${vault.count} texts…</button> <span class="quiet">Texts are hidden: they were written to provoke, and may offend.</span></p><noscript><p class="quiet">Showing texts needs JavaScript; it stays on this page.</p></noscript>`;
}

/** @param withTexts False: texts are dropped at once, and the page cannot show them. */
export function createTextVault(withTexts: boolean): TextVault {
  const texts: TextParts[] = [];
  return {
    veil(text, what, name) {
      if (!withTexts) return html`<p class="veil veil-gone">${what}: left out of this copy</p>`;
      const characters = [...text];
      const index = texts.push(toParts(characters.slice(0, MAX_TEXT_CHARACTERS).join(''))) - 1;
      const size = counted(characters.length, 'character');
      const cut =
        characters.length > MAX_TEXT_CHARACTERS
          ? `, of which the first ${MAX_TEXT_CHARACTERS.toLocaleString('en-US')} are kept`
          : '';
      return html`<div class="veil" data-text="${index}"><button type="button" class="reveal" aria-expanded="false" aria-label="Show ${name}">Show</button><div class="veil-body"><span class="veil-note">${what}, ${size}${cut}</span></div></div>`;
    },
    dataBlock: () =>
      withTexts ? new Html(`<script type="application/json" id="texts">${inertJson(texts)}</script>`) : html``,
    get count() {
      return texts.length;
    },
    get isEmpty() {
      return texts.length === 0;
    },
  };
}
