import { causeWords } from '../../metrics/causes.ts';
import { causesPlan } from '../../stages/evaluation/causes-plan.ts';
import type { WayRecord } from '../../stages/evaluation/causes-record.ts';
import { discoveryChart } from '../charts/discovery-chart.ts';
import { namedFigures, sizeBar } from '../charts/measure-marks.ts';
import { type Html, html } from '../words/html.ts';
import { counted } from '../words/number-words.ts';
import { isSyntheticWorld, stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';
import type { TextVault } from './text-vault.ts';

/** Most ways on the page, for a page that can be read. */
const MAX_SHOWN_WAYS = 64;

const COMMON = { id: 'ways', title: 'The ways it fails' };

/** Figures of the ways found and not found; those of a synthetic world compare causes with planted keys. */
const FIGURES = ['waysMissingMass', 'waysChao1', 'waysEcho', 'unstableShare'];
const WORLD_FIGURES = ['causesKeyRecall', 'keysInSuccesses', 'causesOneKey', 'causesPure'];

/** Why an attack of this way works, in plain words. */
function whyItWorks({ cause, example }: WayRecord): string {
  const [part, whole] = [causeWords(cause).length, causeWords(example).length];
  if (part < whole)
    return `Why: ${part} of the ${counted(whole, 'word')} of this example ${part === 1 ? 'is' : 'are'} enough.`;
  if (whole === 1) return 'Why: this example is one word.';
  return `Why: all ${whole} words of this example together; no smaller part was found to succeed.`;
}

/** A way or wording: its number, and the name that a reader gave it. */
export const numberedName = (what: string, number: number, name: string | null | undefined): string =>
  name == null ? `${what} ${number}` : `${what} ${number}: ${name}`;

interface WayPlace {
  readonly number: number;
  readonly name: string | null | undefined;
  readonly largest: number;
}

function wayItem(way: WayRecord, { number, name, largest }: WayPlace, vault: TextVault): Html {
  const { cause, example, isEcho, successes, searches, wordings } = way;
  const facts = [
    ...(wordings === undefined ? [] : [counted(wordings, 'wording')]),
    `found by ${counted(searches, 'search', 'searches')}`,
    isEcho ? 'repeats its own words' : 'answered in other words',
  ];
  return html`<li class="way"><h3 class="way-name">${numberedName('Way', number, name)}</h3><div class="way-cause">${vault.veil(cause, 'cause', `cause of way ${number}`)}</div><div class="way-size">${sizeBar(successes, largest)}<span>${counted(successes, 'success', 'successes')}</span></div><div class="way-more"><p class="quiet">${facts.join(' · ')}. ${whyItWorks(way)}</p>${vault.veil(example, 'attack', `example of way ${number}`)}</div></li>`;
}

function remainder(ways: readonly WayRecord[]): Html {
  const rest = ways.slice(MAX_SHOWN_WAYS);
  if (rest.length === 0) return html``;
  const successes = rest.reduce((sum, way) => sum + way.successes, 0);
  return html`<p class="quiet">And ${counted(rest.length, 'smaller way')} with ${counted(successes, 'success', 'successes')} in all, which this page leaves out.</p>`;
}

/** A section without ways, and the reason. */
function withoutWays({ config, report, clusters }: PageContent): Html {
  if (clusters?.successes === 0) return html`<p>No attack succeeded.</p>`;
  const isOn = causesPlan(config).clusters > 0;
  if (isOn && report.run.status !== 'done')
    return html`<p>The search for ways is not done. <code>floodgate resume ${report.run.name}</code> finishes it.</p>`;
  return html`<p>Ways were not looked for in this run: the search asks the target for answers to parts of attacks. Set <code>evaluation.causes.clusters</code> to the number of successes to search. The wordings below say what the attacks say, not why they succeed.</p>`;
}

/** The ways of success by their causes. Their texts stay masked until the reader asks for them. */
export function waysSection(content: PageContent, vault: TextVault): PageSection | undefined {
  const { ways: record, headline } = content;
  if (headline === undefined) return undefined;
  const what = 'A way is named by its cause: the smallest part of a successful attack that still succeeds by itself.';
  const { causes } = headline;
  if (record === undefined || causes === undefined || record.successes === 0)
    return { ...COMMON, note: what, body: withoutWays(content) };
  const { ways, successes, searched, unstable, unknown } = record;
  const largest = ways[0]?.successes ?? 1;
  const items = ways
    .slice(0, MAX_SHOWN_WAYS)
    .map((way, i) => wayItem(way, { number: i + 1, name: content.wayNames[i], largest }, vault));
  const again = `${counted(searched, 'success', 'successes')} searched; ${unstable} of them did not succeed again.`;
  const left =
    unknown === 0
      ? ''
      : ` ${counted(unknown, 'success', 'successes')} hold no known cause and were not searched: evaluation.causes.clusters searches more.`;
  const figures = [...FIGURES, ...(isSyntheticWorld(headline) ? WORLD_FIGURES : [])];
  return {
    ...COMMON,
    note: `${what} Successes of ${stageWords(headline.name).label} with the same cause are one way. “Repeats its own words”: at least half of the unsafe answers hold all words of the cause.`,
    body: html`${discoveryChart(causes.discovery, 'Ways')}<div><p class="total">${counted(ways.length, 'way')} among ${counted(successes, 'successful attack')}</p><p class="quiet">${again}${left}</p></div>${namedFigures(causes.metrics, figures)}<ol class="clusters">${items}</ol>${remainder(ways)}`,
  };
}
