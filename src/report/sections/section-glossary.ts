import { html } from '../words/html.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';

const TERMS: readonly (readonly [string, string])[] = [
  ['Attack', 'A message to the target, written to draw an answer that it should not give.'],
  [
    'Judge',
    'A program or model that rates an answer from 0, safe, to 1, unsafe. An attack succeeds when its answers are rated above one half on average.',
  ],
  [
    'Success rate',
    'The share of new attacks that succeed. It says how easily this attacker gets through, not how often users will.',
  ],
  [
    'Way',
    'A cause of success: the smallest part of an attack that still succeeds. Two attacks with one cause fail the same way.',
  ],
  ['Wording', 'A group of successful attacks that say nearly the same. One way has many wordings.'],
  [
    '95% interval',
    'The range that holds the true figure in 95 of 100 such measurements. It covers the draw of the attacks, not another training.',
  ],
];

/** Six terms for a reader who meets them first here. */
export function glossarySection({ headline }: PageContent): PageSection | undefined {
  if (headline === undefined) return undefined;
  return {
    id: 'terms',
    title: 'Terms',
    note: 'The six words that this page needs.',
    body: html`<dl class="terms">${TERMS.map(([term, meaning]) => html`<dt>${term}</dt><dd>${meaning}</dd>`)}</dl>`,
  };
}
