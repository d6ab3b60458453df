import { maxOf } from '../../base/long-lists.ts';
import type { ReportStage } from '../figures/report-json.ts';
import { type Html, html } from '../words/html.ts';
import { plainNumber } from '../words/number-words.ts';
import { coordinate, linearScale, roundTicks } from './svg-scale.ts';

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

/**
 * The finds of more target calls: measured up to the evaluation's size, extrapolated beyond. Empty without points.
 * @param finds what is counted, with a capital: `Ways` or `Wordings`.
 */
export function discoveryChart(discovery: readonly DiscoveryPoint[], finds: string): Html {
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
  const spoken = `${finds} found against answers asked of the target: ${plainNumber(measured.value)} after ${plainNumber(measured.calls)} answers; ${plainNumber(last.value)} (${plainNumber(last.low)} to ${plainNumber(last.high)}) expected after ${plainNumber(last.calls)}.`;
  return html`<figure class="discovery"><figcaption><strong>Would more attacks find more ${finds.toLowerCase()}?</strong> <span>${spoken} Dashed: extrapolated. The band is the interval.</span></figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${spoken}"><path class="band" d="M${band.join('L')}Z"/><g aria-hidden="true">${rows}${columns}<text class="tick" x="${WIDTH - EDGE.right}" y="${HEIGHT - 5}" text-anchor="end">answers asked of the target</text></g><path class="line" d="${line([{ ...measured, calls: 0, value: 0 }, ...points.slice(0, points.indexOf(measured) + 1)])}"/><path class="line dashed" d="${line(beyond)}"/></svg></figure>`;
}
