import type { AttackMap, MapPanel } from '../attacks/attack-map.ts';
import type { KeptPanel } from '../attacks/kept-map.ts';
import { coordinate, linearScale } from '../charts/svg-scale.ts';
import { type Html, html } from '../words/html.ts';
import { counted, percentText } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';

const WIDTH = 320;
const HEIGHT = 260;
export const MAP_SIZE = { width: WIDTH, height: HEIGHT } as const;
const MARGIN = 14;

/** One pair of scales for every panel, so that panels can be compared. */
export function mapScales({ panels }: { readonly panels: readonly Pick<MapPanel | KeptPanel, 'points'>[] }) {
  const points = panels.flatMap((panel) => panel.points);
  const range = (pick: (point: { x: number; y: number }) => number): readonly [number, number] =>
    points.reduce<readonly [number, number]>(
      ([low, high], point) => [Math.min(low, pick(point)), Math.max(high, pick(point))],
      [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
    );
  const [left, right] = range(({ x }) => x);
  const [bottom, top] = range(({ y }) => y);
  return {
    x: linearScale(left, right, MARGIN, WIDTH - MARGIN),
    y: linearScale(bottom, top, HEIGHT - MARGIN, MARGIN),
  };
}

/** Numbers nearer than this would cover each other: the smaller wording gets none. */
const LABEL_DISTANCE = 15;

function withoutOverlap(labels: MapPanel['numbered']): MapPanel['numbered'] {
  return labels.filter((label, i) =>
    labels.slice(0, i).every((other) => Math.hypot(label.x - other.x, label.y - other.y) >= LABEL_DISTANCE),
  );
}

function panelFigure({ stage, points, numbered, leftOut }: MapPanel, { x, y }: ReturnType<typeof mapScales>): Html {
  // Successes are drawn last, on top: the reader looks for them.
  const marks = [...points].sort((a, b) => Number(a.isSuccess) - Number(b.isSuccess));
  const successes = points.filter(({ isSuccess }) => isSuccess).length;
  const summary = `${counted(points.length, 'attack')}, ${counted(successes, 'success', 'successes')}`;
  const labels = withoutOverlap(numbered.map((label) => ({ ...label, x: x.place(label.x), y: y.place(label.y) }))).map(
    (label) =>
      html`<text class="map-number" x="${coordinate(label.x)}" y="${coordinate(label.y + 4)}" text-anchor="middle">${label.number}</text>`,
  );
  return html`<figure class="map-panel">
<figcaption><strong>${stageWords(stage).label}</strong> <span>${summary}${leftOut > 0 ? `; ${leftOut.toLocaleString('en-US')} more not drawn` : ''}</span></figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Map of the attacks of ${stageWords(stage).label}: ${summary}.">${marks.map(
    (point) =>
      html`<circle class="${point.isSuccess ? 'hit' : 'miss'}" cx="${coordinate(x.place(point.x))}" cy="${coordinate(y.place(point.y))}" r="${point.isSuccess ? 3.2 : 2.6}"/>`,
  )}<g aria-hidden="true">${labels}</g></svg>
</figure>`;
}

/** The map as small multiples: one panel for each stage. */
function scatterPanels(map: AttackMap): Html {
  const scales = mapScales(map);
  return html`<div class="panels">${map.panels.map((panel) => panelFigure(panel, scales))}</div>`;
}

/** The attacks of every stage as points of one plane, or the reason why they are not drawn. */
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
    body: html`<p class="legend"><span><svg viewBox="0 0 12 12" aria-hidden="true"><circle class="hit" cx="6" cy="6" r="4"/></svg> succeeded</span> <span><svg viewBox="0 0 12 12" aria-hidden="true"><circle class="miss" cx="6" cy="6" r="4"/></svg> did not</span> <span>Numbers: the largest wordings, as listed above</span></p>${scatterPanels(map)}`,
  };
}
