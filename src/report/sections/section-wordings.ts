import { type ExampleAttack, MAX_SHOWN_CLUSTERS, type SuccessCluster } from '../attacks/attack-clusters.ts';
import { discoveryChart } from '../charts/discovery-chart.ts';
import { sizeBar } from '../charts/measure-marks.ts';
import { type Html, html } from '../words/html.ts';
import { counted, percentText } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';
import { numberedName } from './section-ways.ts';
import type { TextVault } from './text-vault.ts';

function exampleItem({ text, isEcho, responses }: ExampleAttack, name: string, vault: TextVault): Html {
  const attack = vault.veil(text, 'attack', name);
  const answers = responses.map(
    (response, i) =>
      html`<li>${vault.veil(response.text, 'answer', `answer ${i + 1} to ${name}`)}<p class="quiet">${response.unsafe === null ? 'not scored' : `${percentText(response.unsafe)} unsafe`}</p></li>`,
  );
  return html`<li class="example">${attack}${isEcho === true ? html`<p class="quiet">An echo: fails once its own words are masked.</p>` : ''}<ul class="answers">${answers}</ul></li>`;
}

interface WordingPlace {
  readonly number: number;
  readonly name: string | null | undefined;
  readonly largest: number;
}

function wordingItem(cluster: SuccessCluster, { number, name, largest }: WordingPlace, vault: TextVault): Html {
  const { members, meanUnsafe, echoShare, distinctTexts, examples } = cluster;
  const facts = [
    `${percentText(meanUnsafe)} unsafe on average`,
    ...(echoShare === null ? [] : [`${percentText(echoShare)} echoes`]),
    ...(members.length === distinctTexts ? [] : [counted(distinctTexts, 'different text')]),
  ];
  return html`<li><details class="cluster"><summary><span class="cluster-name">${numberedName('Wording', number, name)}</span>${sizeBar(members.length, largest)}<span class="cluster-size">${counted(members.length, 'attack')}</span><span class="quiet">${facts.join(' · ')}</span></summary><ol class="examples">${examples.map((example, i) => exampleItem(example, `attack ${i + 1} of wording ${number}`, vault))}</ol></details></li>`;
}

function remainder(clusters: readonly SuccessCluster[]): Html {
  const rest = clusters.slice(MAX_SHOWN_CLUSTERS);
  if (rest.length === 0) return html``;
  const attacks = rest.reduce((sum, { members }) => sum + members.length, 0);
  return html`<p class="quiet">And ${counted(rest.length, 'smaller wording')} with ${counted(attacks, 'attack')} in all, which this page leaves out.</p>`;
}

function sourceNote({ clusters, vectors, evaluations }: PageContent): string {
  const stage = stageWords(clusters?.stage ?? '').label;
  const isCut = evaluations.find((evaluation) => evaluation.stage === clusters?.stage)?.isCut === true;
  const how =
    vectors.kind === 'made'
      ? `Attacks that say nearly the same are one wording: their cosine to its first attack is above ${clusters?.threshold} (${vectors.encoder}).`
      : `Only equal texts are one wording here, because the encoder could not be used (${vectors.reason}).`;
  return `Successful attacks of ${stage}, grouped by what they say. Open one to see examples. ${how} Different wordings may succeed for one reason.${isCut ? ' Only the first attacks of the evaluation are grouped.' : ''}`;
}

/** Clusters of successful attacks. Their examples stay masked until the reader asks for them. */
export function wordingsSection(content: PageContent, vault: TextVault): PageSection | undefined {
  const { clusters, headline } = content;
  if (clusters === undefined) return undefined;
  const list = clusters.clusters;
  const largest = list[0]?.members.length ?? 1;
  const items = list
    .slice(0, MAX_SHOWN_CLUSTERS)
    .map((cluster, i) => wordingItem(cluster, { number: i + 1, name: content.wordingNames[i], largest }, vault));
  const body =
    list.length === 0
      ? html`<p>No attack succeeded.</p>`
      : html`${discoveryChart(headline?.discovery ?? [], 'Wordings')}<p class="total">${counted(list.length, 'wording')} among ${counted(clusters.successes, 'successful attack')}</p><ol class="clusters">${items}</ol>${remainder(list)}`;
  return { id: 'wordings', title: 'Wordings', note: sourceNote(content), body };
}
