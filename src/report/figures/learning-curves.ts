import type { StoreQueries } from '../../runs/store/queries.ts';
import type { StoredMetric } from '../../runs/store/records.ts';

export interface CurvePoint {
  readonly update: number;
  readonly value: number;
}

/** One number over the updates of a stage; `isSparse` when only some updates measured it. */
export interface Curve {
  readonly metric: string;
  readonly isSparse: boolean;
  readonly points: readonly CurvePoint[];
}

export interface StageCurves {
  readonly stage: string;
  readonly updates: number;
  /** In the order of `MAIN_CURVES`, then the others by name. */
  readonly curves: readonly Curve[];
}

/** Curves that show how learning went; the others follow behind a fold. */
export const MAIN_CURVES = [
  'loss',
  'validationLoss',
  'batchAsr',
  'heldOutAsr',
  'heldOutUnique',
  'logZ',
  'residualSpread',
];

/** A sparse series has values at no more than this share of the updates. */
const SPARSE_SHARE = 0.5;

function rank(metric: string): number {
  const place = MAIN_CURVES.indexOf(metric);
  return place < 0 ? MAIN_CURVES.length : place;
}

function curvesOf(stored: readonly StoredMetric[], updates: number): Curve[] {
  const byName = new Map<string, CurvePoint[]>();
  for (const { name, judge, update, value } of stored) {
    if (judge !== undefined || value === null) continue;
    const points = byName.get(name) ?? [];
    points.push({ update, value });
    byName.set(name, points);
  }
  return [...byName]
    .filter(([, points]) => points.length > 1)
    .map(([metric, points]) => ({ metric, points, isSparse: points.length <= updates * SPARSE_SHARE }))
    .sort((a, b) => rank(a.metric) - rank(b.metric) || (a.metric < b.metric ? -1 : 1));
}

/** Returns the metrics of a stage by update; no curves for a stage that has none. */
export function readLearningCurves(store: StoreQueries, stage: string): StageCurves {
  const stored = store.metrics(stage);
  const updates = stored.reduce((most, { update }) => Math.max(most, update + 1), 0);
  return { stage, updates, curves: curvesOf(stored, updates) };
}

/** Returns at most `count` points: means of equally many neighbours. A long run then draws as fast as a short one. */
export function thinCurve(points: readonly CurvePoint[], count: number): CurvePoint[] {
  const step = Math.ceil(points.length / count);
  return Array.from({ length: Math.ceil(points.length / Math.max(step, 1)) }, (_, bin) => {
    const part = points.slice(bin * step, (bin + 1) * step);
    const mean = (pick: (point: CurvePoint) => number): number =>
      part.reduce((sum, point) => sum + pick(point), 0) / part.length;
    return { update: mean(({ update }) => update), value: mean(({ value }) => value) };
  });
}

/** Points that are smoothed: the work grows with the square of their number. A longer curve is thinned to them first. */
export const MAX_SMOOTHED_POINTS = 8192;

/** Returns the mean of each point with its neighbours, `share` of all points to either side. */
export function smoothCurve(curve: readonly CurvePoint[], share: number): CurvePoint[] {
  const points = curve.length > MAX_SMOOTHED_POINTS ? thinCurve(curve, MAX_SMOOTHED_POINTS) : curve;
  const reach = Math.floor(points.length * share);
  return points.map(({ update }, i) => {
    const part = points.slice(Math.max(0, i - reach), i + reach + 1);
    return { update, value: part.reduce((sum, { value }) => sum + value, 0) / part.length };
  });
}
