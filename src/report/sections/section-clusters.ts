import { maxOf } from '../../base/long-lists.ts';
import { type ExampleAttack, MAX_SHOWN_CLUSTERS, type SuccessCluster } from '../attacks/attack-clusters.ts';
import { coordinate, linearScale, roundTicks } from '../charts/svg-scale.ts';
import type { ReportStage } from '../figures/report-json.ts';
import { type Html, html } from '../words/html.ts';
import { counted, percentText, plainNumber } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';
import type { TextVault } from './text-vault.ts';

const WIDTH = 640;
const HEIGHT = 230;
const EDGE = { left: 48, right: 14, top: 12, bottom: 40 };

type DiscoveryPoint = ReportStage['discovery'][number];
interface KnownPoint {
  readonly calls: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly isExtrapolated: boolean;
}

function knownPoints(discovery: readonly DiscoveryPoint[]): KnownPoint[] {
  return discovery.flatMap(({ targetCalls, value, low, high, method }) =>
    value === null
      ? []
      : [
          {
            calls: targetCalls,
            value,
            low: low ?? value,
            high: high ?? value,
            isExtrapolated: method.includes('extrapolation'),
          },
        ],
  );
}

/** The ways that more target calls find: measured up to the evaluation's size, extrapolated beyond. Empty without points. */
function discoveryChart({ discovery }: ReportStage): Html {
  const points = knownPoints(discovery);
  const [last, measured] = [points.at(-1), points.findLast(({ isExtrapolated }) => !isExtrapolated)];
  if (points.length < 2 || last === undefined || measured === undefined) return html``;
  const most = maxOf(points.map(({ high }) => high));
  const x = linearScale(0, last.calls, EDGE.left, WIDTH - EDGE.right);
  const y = linearScale(0, most, HEIGHT - EDGE.bottom, EDGE.top);
  const at = (calls: number, value: number): string => `${coordinate(x.place(calls))} ${coordinate(y.place(value))}`;
  const line = (part: readonly KnownPoint[]): string =>
    `M${part.map(({ calls, value }) => at(calls, value)).join('L')}`;
  const band = [
    ...points.map(({ calls, high }) => at(calls, high)),
    ...points.toReversed().map(({ calls, low }) => at(calls, low)),
  ];
  const beyond = points.slice(points.indexOf(measured));
  const rows = roundTicks(0, most, 4).map(
    (tick) =>
      html`<line class="grid" x1="${EDGE.left}" x2="${WIDTH - EDGE.right}" y1="${coordinate(y.place(tick))}" y2="${coordinate(y.place(tick))}"/><text class="tick" x="${EDGE.left - 7}" y="${coordinate(y.place(tick) + 4)}" text-anchor="end">${plainNumber(tick)}</text>`,
  );
  const columns = roundTicks(0, last.calls, 5).map(
    (tick) =>
      html`<text class="tick" x="${coordinate(x.place(tick))}" y="${HEIGHT - 22}" text-anchor="middle">${plainNumber(tick)}</text>`,
  );
  const spoken = `Ways found against answers asked of the target: ${plainNumber(measured.value)} after ${plainNumber(measured.calls)} answers; ${plainNumber(last.value)} (${plainNumber(last.low)} to ${plainNumber(last.high)}) expected after ${plainNumber(last.calls)}.`;
  return html`<figure class="discovery"><figcaption><strong>Would more attacks find more?</strong> <span>${spoken} Dashed: extrapolated. The band is the interval.</span></figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${spoken}"><path class="band" d="M${band.join('L')}Z"/><g aria-hidden="true">${rows}${columns}<text class="tick" x="${WIDTH - EDGE.right}" y="${HEIGHT - 5}" text-anchor="end">answers asked of the target</text></g><path class="line" d="${line([{ ...measured, calls: 0, value: 0 }, ...points.slice(0, points.indexOf(measured) + 1)])}"/><path class="line dashed" d="${line(beyond)}"/></svg></figure>`;
}

function exampleItem({ text, isEcho, responses }: ExampleAttack, name: string, vault: TextVault): Html {
  const attack = vault.veil(text, 'attack', name);
  const answers = responses.map(
    (response, i) =>
      html`<li>${vault.veil(response.text, 'answer', `answer ${i + 1} to ${name}`)}<p class="quiet">${response.unsafe === null ? 'not scored' : `${percentText(response.unsafe)} unsafe`}</p></li>`,
  );
  return html`<li class="example">${attack}${isEcho === true ? html`<p class="quiet">An echo: fails once its own words are masked.</p>` : ''}<ul class="answers">${answers}</ul></li>`;
}

function sizeBar(size: number, largest: number): Html {
  return html`<svg class="size" viewBox="0 0 200 8" preserveAspectRatio="none" aria-hidden="true"><rect width="${coordinate(Math.max(2, (size / largest) * 200))}" height="8" rx="2"/></svg>`;
}

function clusterItem(cluster: SuccessCluster, number: number, largest: number, vault: TextVault): Html {
  const { members, meanUnsafe, echoShare, distinctTexts, examples } = cluster;
  const facts = [
    `${percentText(meanUnsafe)} unsafe on average`,
    ...(echoShare === null ? [] : [`${percentText(echoShare)} echoes`]),
    ...(members.length === distinctTexts ? [] : [counted(distinctTexts, 'wording')]),
  ];
  return html`<li><details class="cluster"><summary><span class="cluster-name">Way ${number}</span>${sizeBar(members.length, largest)}<span class="cluster-size">${counted(members.length, 'attack')}</span><span class="quiet">${facts.join(' · ')}</span></summary><ol class="examples">${examples.map((example, i) => exampleItem(example, `attack ${i + 1} of way ${number}`, vault))}</ol></details></li>`;
}

function remainder(clusters: readonly SuccessCluster[]): Html {
  const rest = clusters.slice(MAX_SHOWN_CLUSTERS);
  if (rest.length === 0) return html``;
  const attacks = rest.reduce((sum, { members }) => sum + members.length, 0);
  return html`<p class="quiet">And ${counted(rest.length, 'smaller group')} with ${counted(attacks, 'attack')} in all, which this page leaves out.</p>`;
}

function sourceNote({ clusters, vectors, evaluations }: PageContent): string {
  const stage = stageWords(clusters?.stage ?? '').label;
  const isCut = evaluations.find((evaluation) => evaluation.stage === clusters?.stage)?.isCut === true;
  const how =
    vectors.kind === 'made'
      ? `Attacks within a cosine of ${clusters?.threshold} of the first one (${vectors.encoder}) count as one way.`
      : `Only equal texts are grouped here, because the encoder could not be used (${vectors.reason}).`;
  return `Successful attacks of ${stage}, grouped by what they say. Open one to see examples. ${how}${isCut ? ' Only the first attacks of the evaluation are grouped.' : ''}`;
}

/** Clusters of successful attacks. Their examples stay masked until the reader asks for them. */
export function clustersSection(content: PageContent, vault: TextVault): PageSection | undefined {
  const { clusters, headline } = content;
  if (clusters === undefined) return undefined;
  const list = clusters.clusters;
  const largest = list[0]?.members.length ?? 1;
  const items = list.slice(0, MAX_SHOWN_CLUSTERS).map((cluster, i) => clusterItem(cluster, i + 1, largest, vault));
  const controls = vault.isEmpty
    ? ''
    : html`<p class="controls"><button type="button" id="reveal-all" data-count="${vault.count}">Show all ${vault.count} texts…</button> <span class="quiet">Texts are hidden: they were written to provoke, and may offend.</span></p><noscript><p class="quiet">Showing texts needs JavaScript; it stays on this page.</p></noscript>`;
  const body =
    list.length === 0
      ? html`<p>No attack succeeded.</p>`
      : html`${controls}${headline === undefined ? '' : discoveryChart(headline)}<p class="total">${counted(list.length, 'way')} among ${counted(clusters.successes, 'successful attack')}</p><ol class="clusters">${items}</ol>${remainder(list)}`;
  return { id: 'ways', title: 'The ways it fails', note: sourceNote(content), body };
}
