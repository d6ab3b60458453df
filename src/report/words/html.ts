import { UNPRINTABLE, visibleEscape } from '../../base/unprintable.ts';

/** Markup that is safe inside a page without further escaping. Only `html` makes it. */
export class Html {
  readonly markup: string;

  constructor(markup: string) {
    this.markup = markup;
  }
}

/** A value for a hole of an `html` template; none can break out of text or of a quoted attribute. */
export type HtmlHole = Html | string | number | undefined | readonly HtmlHole[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Returns `text` as text of a page: markup escaped, characters that hide or reorder made visible, line breaks kept. */
function escapeHtml(text: string): string {
  return text
    .replace(UNPRINTABLE, (character) =>
      character === '\n' || character === '\t' ? character : visibleEscape(character),
    )
    .replace(/[&<>"']/g, (character) => ENTITIES[character] as string);
}

function fill(hole: HtmlHole): string {
  if (hole === undefined) return '';
  if (hole instanceof Html) return hole.markup;
  if (typeof hole === 'string' || typeof hole === 'number') return escapeHtml(String(hole));
  return hole.map(fill).join('');
}

/** Template tag: `html`<p>${text}</p>`` escapes every hole that is not itself `Html`. Attribute holes must be quoted. */
export function html(parts: TemplateStringsArray, ...holes: readonly HtmlHole[]): Html {
  return new Html(parts.map((part, i) => part + fill(holes[i])).join(''));
}
