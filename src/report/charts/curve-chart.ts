import { maxOf, minOf } from '../../base/long-lists.ts';
import { type Curve, type CurvePoint, smoothCurve, thinCurve } from '../figures/learning-curves.ts';
import { metricWords } from '../words/metric-words.ts';
import { numberText } from '../words/number-words.ts';
import { coordinate, linearScale, roundTicks, type Scale } from './svg-scale.ts';

const WIDTH = 320;
const HEIGHT = 170;
const EDGE = { left: 44, right: 10, top: 10, bottom: 24 };
const MAX_POINTS = 120;
/** The bold line is a mean over this share of the updates to either side. */
const SMOOTHING_SHARE = 0.04;

function pathOf(points: readonly CurvePoint[], x: Scale, y: Scale): string {
  return points
    .map(({ update, value }, i) => `${i === 0 ? 'M' : 'L'}${coordinate(x.place(update))} ${coordinate(y.place(value))}`)
    .join('');
}

function valueRange(curve: Curve): readonly [number, number] {
  const values = curve.points.map(({ value }) => value);
  const { form } = metricWords(curve.metric);
  if (form === 'share') return [0, 1];
  const [low, high] = [minOf(values), maxOf(values)];
  if (form === 'count') return [0, Math.max(1, high)];
  return low === high ? [low - 1, high + 1] : [low, high];
}

/** The chart in words, for a screen reader. */
function spokenCurve({ metric, points }: Curve): string {
  const { label, form } = metricWords(metric);
  const text = (value: number | undefined): string => numberText(value ?? null, form);
  const values = points.map(({ value }) => value);
  return `${label}: from ${text(values[0])} at update ${points[0]?.update ?? 0} to ${text(values.at(-1))} at update ${points.at(-1)?.update ?? 0}; lowest ${text(minOf(values))}, highest ${text(maxOf(values))}.`;
}

/** A chart as data: the report writes it as markup, the viewer's page makes its elements. */
export interface CurveChart {
  readonly label: string;
  readonly meaning: string;
  /** The chart in words. */
  readonly spoken: string;
  readonly width: number;
  readonly height: number;
  /** Horizontal lines, each with its label. */
  readonly rows: readonly { readonly from: string; readonly to: string; readonly y: string; readonly text: TickText }[];
  readonly columns: readonly TickText[];
  readonly paths: readonly { readonly style: 'line' | 'line-faint'; readonly d: string }[];
  readonly dots: readonly { readonly x: string; readonly y: string }[];
}

interface TickText {
  readonly x: string;
  readonly y: string;
  readonly text: string;
}

function axes(x: Scale, y: Scale, metric: string): Pick<CurveChart, 'rows' | 'columns'> {
  const { form } = metricWords(metric);
  return {
    rows: roundTicks(y.low, y.high, 4).map((tick) => ({
      from: String(EDGE.left),
      to: String(WIDTH - EDGE.right),
      y: coordinate(y.place(tick)),
      text: {
        x: String(EDGE.left - 7),
        y: coordinate(y.place(tick) + 4),
        text: numberText(tick, form === 'count' ? 'number' : form),
      },
    })),
    columns: roundTicks(x.low, x.high, 4).map((tick) => ({
      x: coordinate(x.place(tick)),
      y: String(HEIGHT - 6),
      text: numberText(tick, 'number'),
    })),
  };
}

/** One curve over the updates of its stage: every value faint, their running mean bold. */
export function chartOf(curve: Curve, updates: number): CurveChart {
  const [low, high] = valueRange(curve);
  const x = linearScale(0, Math.max(1, updates - 1), EDGE.left, WIDTH - EDGE.right);
  const y = linearScale(low, high, HEIGHT - EDGE.bottom, EDGE.top);
  const { label, meaning } = metricWords(curve.metric);
  const line = (points: readonly CurvePoint[]): string => pathOf(points, x, y);
  const smoothed = (): CurvePoint[] => thinCurve(smoothCurve(curve.points, SMOOTHING_SHARE), MAX_POINTS);
  return {
    ...{ label, meaning, spoken: spokenCurve(curve), width: WIDTH, height: HEIGHT, ...axes(x, y, curve.metric) },
    paths: curve.isSparse
      ? [{ style: 'line', d: line(curve.points) }]
      : [
          { style: 'line-faint', d: line(thinCurve(curve.points, MAX_POINTS)) },
          { style: 'line', d: line(smoothed()) },
        ],
    dots: curve.isSparse
      ? curve.points.map(({ update, value }) => ({ x: coordinate(x.place(update)), y: coordinate(y.place(value)) }))
      : [],
  };
}
