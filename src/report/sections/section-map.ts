import { scatterPanels } from '../charts/scatter-panel.ts';
import { html } from '../words/html.ts';
import { percentText } from '../words/number-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';

/** The attacks of every stage as points of one plane, or why they are not drawn. */
export function mapSection({ map, vectors, evaluations }: PageContent): PageSection | undefined {
  if (evaluations.length === 0) return undefined;
  const common = { id: 'map', title: 'Map of the attacks' };
  if (map === undefined) {
    const reason = vectors.kind === 'missing' ? vectors.reason : 'there are too few attacks';
    return {
      ...common,
      note: 'Attacks that mean similar things would lie close together.',
      body: html`<p>Not drawn: ${reason}.</p>`,
    };
  }
  const shown =
    map.shownShare === null
      ? ''
      : ` The plane shows ${percentText(map.shownShare)} of the spread, so nearness here is a hint, not a measurement.`;
  return {
    ...common,
    note: `Every point is an attack; points close together mean similar things. All panels have the same axes.${shown}`,
    body: html`<p class="legend"><span><svg viewBox="0 0 12 12" aria-hidden="true"><circle class="hit" cx="6" cy="6" r="4"/></svg> succeeded</span> <span><svg viewBox="0 0 12 12" aria-hidden="true"><circle class="miss" cx="6" cy="6" r="4"/></svg> did not</span> <span>Numbers: the largest ways, as listed above</span></p>${scatterPanels(map)}`,
  };
}
