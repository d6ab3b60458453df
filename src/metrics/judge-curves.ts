import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { normalQuantile } from './quantiles.ts';

/** A judge's score of one example, and the label that a person gave it. */
export interface LabelledScore {
  /** P(unsafe). */
  readonly score: number;
  readonly isUnsafe: boolean;
}

/** A judge that calls an answer unsafe when its score is above `threshold`. */
export interface CurvePoint {
  /** Null where every answer is called unsafe. */
  readonly threshold: number | null;
  readonly sensitivity: number;
  readonly specificity: number;
  /** Share of unsafe examples among those called unsafe; null where none is. */
  readonly precision: number | null;
}

interface Step {
  readonly score: number;
  readonly unsafe: number;
  readonly safe: number;
}

/** Examples of each distinct score, the highest score first. @throws FloodgateError `usage` without both labels. */
function stepsOf(examples: readonly LabelledScore[]): { steps: Step[]; unsafe: number; safe: number } {
  const counts = new Map<number, { unsafe: number; safe: number }>();
  for (const { score, isUnsafe } of examples) {
    if (!Number.isFinite(score)) throw new FloodgateError('usage', `judge curves: got the score ${score}`);
    const count = counts.get(score) ?? { unsafe: 0, safe: 0 };
    count[isUnsafe ? 'unsafe' : 'safe'] += 1;
    counts.set(score, count);
  }
  const steps = [...counts].map(([score, count]) => ({ score, ...count })).sort((a, b) => b.score - a.score);
  const unsafe = examples.filter(({ isUnsafe }) => isUnsafe).length;
  const safe = examples.length - unsafe;
  if (unsafe > 0 && safe > 0) return { steps, unsafe, safe };
  throw new FloodgateError('usage', `judge curves: got ${unsafe} unsafe and ${safe} safe examples, expected both`);
}

/**
 * Every distinct decision that a threshold can make, from none called unsafe to all. A threshold is midway between two
 * neighbouring scores.
 * @throws FloodgateError `usage` without examples of both labels, or for a score that is not finite.
 */
export function judgeCurve(examples: readonly LabelledScore[]): CurvePoint[] {
  const { steps, unsafe, safe } = stepsOf(examples);
  const points: CurvePoint[] = [{ threshold: steps[0]?.score ?? 1, sensitivity: 0, specificity: 1, precision: null }];
  let [hits, alarms] = [0, 0];
  for (const [index, step] of steps.entries()) {
    hits += step.unsafe;
    alarms += step.safe;
    const next = steps[index + 1];
    points.push({
      threshold: next === undefined ? null : (step.score + next.score) / 2,
      sensitivity: hits / unsafe,
      specificity: 1 - alarms / safe,
      precision: hits / (hits + alarms),
    });
  }
  return points;
}

/**
 * The area under the ROC curve: P(an unsafe example scores above a safe one), ties counted half. The interval is
 * DeLong's on the logit scale. Where its variance is 0, as when the scores separate the labels, it is Newcombe's.
 * @throws FloodgateError `usage` as `judgeCurve`.
 */
export function rocArea(examples: readonly LabelledScore[], confidence = DEFAULT_CONFIDENCE): Measure {
  const { steps, unsafe, safe } = stepsOf(examples);
  let [unsafeAbove, safeAbove, area, ofUnsafe, ofSafe] = [0, 0, 0, 0, 0];
  for (const step of steps) {
    const below = (safe - safeAbove - step.safe / 2) / safe;
    const above = (unsafeAbove + step.unsafe / 2) / unsafe;
    area += (step.unsafe / unsafe) * below;
    ofUnsafe += step.unsafe * below * below;
    ofSafe += step.safe * above * above;
    unsafeAbove += step.unsafe;
    safeAbove += step.safe;
  }
  const spread = (squares: number, n: number): number => (n < 2 ? Number.NaN : (squares - n * area * area) / (n - 1));
  const variance = spread(ofUnsafe, unsafe) / unsafe + spread(ofSafe, safe) / safe;
  const z = normalQuantile((1 + confidence) / 2);
  const n = examples.length;
  if (variance > 1e-12 && area > 0 && area < 1) {
    const half = (z * Math.sqrt(variance)) / (area * (1 - area));
    const at = (shift: number): number => 1 / (1 + ((1 - area) / area) * Math.exp(-shift));
    return intervalMeasure({ value: area, low: at(-half), high: at(half), n, method: 'DeLong, logit', confidence });
  }
  const [low, high] = newcombeBounds({ area, unsafe, safe, z });
  return intervalMeasure({ value: area, low, high, n, method: 'Newcombe method 5', confidence });
}

interface NewcombeParts {
  readonly area: number;
  readonly unsafe: number;
  readonly safe: number;
  readonly z: number;
}

/** Areas theta with |area - theta| = z times the standard error at theta (Newcombe 2006, method 5). */
function newcombeBounds({ area, unsafe, safe, z }: NewcombeParts): [number, number] {
  const others = (unsafe + safe) / 2 - 1;
  const error = (theta: number): number => {
    const pairs = 1 + others * ((1 - theta) / (2 - theta) + theta / (1 + theta));
    return Math.sqrt((theta * (1 - theta) * pairs) / (unsafe * safe));
  };
  const isInside = (theta: number): boolean => Math.abs(area - theta) <= z * error(theta);
  const bound = (end: number): number => {
    let [inside, outside] = [area, end];
    if (isInside(end)) return end;
    for (let i = 0; i < 60; i++) {
      const middle = (inside + outside) / 2;
      if (isInside(middle)) inside = middle;
      else outside = middle;
    }
    return inside;
  };
  // At 0 and 1 the error is 0, so the bound on that side is the area itself when it is there.
  return [bound(0), bound(1)];
}

const RESAMPLES = 1000;

/** Sum over steps of precision times the sensitivity that the step adds. */
function precisionArea(steps: readonly Step[], unsafe: number): number {
  let [hits, called, area] = [0, 0, 0];
  for (const step of steps) {
    hits += step.unsafe;
    called += step.unsafe + step.safe;
    if (step.unsafe > 0) area += (step.unsafe / unsafe) * (hits / called);
  }
  return area;
}

/**
 * The area under the precision-recall curve (average precision). The interval is the percentile interval of a
 * bootstrap that draws unsafe and safe examples apart. It depends on the share of unsafe examples in the file.
 * @throws FloodgateError `usage` as `judgeCurve`.
 */
export function precisionRecallArea(
  examples: readonly LabelledScore[],
  { seed = 1, confidence = DEFAULT_CONFIDENCE }: { readonly seed?: number; readonly confidence?: number } = {},
): Measure {
  const { steps, unsafe, safe } = stepsOf(examples);
  const value = precisionArea(steps, unsafe);
  const n = examples.length;
  if (unsafe < 2 || safe < 2) return pointMeasure(value, n, 'average precision');
  const owners = (pick: (step: Step) => number): number[] =>
    steps.flatMap((step, index) => Array.from({ length: pick(step) }, () => index));
  const [unsafeOwners, safeOwners] = [owners((step) => step.unsafe), owners((step) => step.safe)];
  const areas = Array.from({ length: RESAMPLES }, (_, draw) => {
    const stream = randomStream(seed, 'precision-recall', draw);
    const drawn = steps.map(({ score }) => ({ score, unsafe: 0, safe: 0 }));
    const redraw = (from: readonly number[], label: 'unsafe' | 'safe'): void => {
      for (let i = 0; i < from.length; i++) {
        const step = drawn[from[stream.nextInt(from.length)] as number];
        if (step !== undefined) step[label] += 1;
      }
    };
    redraw(unsafeOwners, 'unsafe');
    redraw(safeOwners, 'safe');
    return precisionArea(drawn, unsafe);
  }).sort((a, b) => a - b);
  const at = (share: number): number => areas[Math.round(share * (RESAMPLES - 1))] as number;
  const [low, high] = [at((1 - confidence) / 2), at((1 + confidence) / 2)];
  const method = `average precision, stratified bootstrap of ${RESAMPLES}`;
  return intervalMeasure({ value, low, high, n, method, confidence });
}
