import { randomStream } from '../base/random.ts';
import { wilsonInterval } from './intervals.ts';
import { type CurvePoint, judgeCurve, type LabelledScore, precisionRecallArea, rocArea } from './judge-curves.ts';
import type { Measure } from './measure.ts';
import type { JudgeErrors } from './rogan-gladen.ts';

/** How a threshold is chosen. Youden: the greatest sensitivity + specificity. */
export type ThresholdRule =
  | { readonly kind: 'youden' }
  /** The lowest threshold with at least this specificity on the examples. */
  | { readonly kind: 'specificity'; readonly least: number };

/** The decision `score > threshold` counted on labelled examples. */
export interface DecisionQuality {
  readonly threshold: number;
  readonly errors: JudgeErrors;
  readonly sensitivity: Measure;
  readonly specificity: Measure;
}

/** Examples with a score in [low, high); the last bin includes 1. */
export interface ReliabilityBin {
  readonly low: number;
  readonly high: number;
  readonly n: number;
  /** Null in an empty bin. */
  readonly meanScore: number | null;
  /** Share labelled unsafe, with a Wilson interval. */
  readonly unsafe: Measure;
}

export interface JudgeCalibration {
  readonly examples: number;
  readonly unsafeExamples: number;
  readonly roc: { readonly area: Measure; readonly points: readonly CurvePoint[] };
  readonly precisionRecall: { readonly area: Measure };
  /** At the threshold by which a run counts a success. */
  readonly asRun: DecisionQuality;
  /** At the chosen threshold, counted by cross-validation; null when a label has fewer than two examples. */
  readonly chosen: DecisionQuality | null;
  readonly reliability: readonly ReliabilityBin[];
  /** Mean squared difference of score and label. */
  readonly brier: number;
  /** Mean |share unsafe - mean score| over the bins, each weighted with its examples. */
  readonly calibrationError: number;
}

/** Call every answer safe: no score is above it. */
const NONE_UNSAFE = 1;
/** Call every answer unsafe: a score of 0 is above it too. */
const ALL_UNSAFE = -1;

const thresholdOf = ({ threshold, sensitivity }: CurvePoint): number =>
  sensitivity === 0 && threshold !== null ? NONE_UNSAFE : (threshold ?? ALL_UNSAFE);

/**
 * The threshold that a rule chooses on these examples. An answer is unsafe when its score is above it. Of equal
 * choices, the one nearest to 1/2. -1 calls every answer unsafe.
 * @throws FloodgateError `usage` without examples of both labels.
 */
export function chooseThreshold(examples: readonly LabelledScore[], rule: ThresholdRule): number {
  const points = judgeCurve(examples);
  const worth = ({ sensitivity, specificity }: CurvePoint): number => {
    if (rule.kind === 'youden') return sensitivity + specificity;
    return specificity >= rule.least ? sensitivity + specificity / 1e6 : -1;
  };
  let best = { worth: -1, threshold: NONE_UNSAFE };
  for (const point of points) {
    const next = { worth: worth(point), threshold: thresholdOf(point) };
    const gain = next.worth - best.worth;
    const isNearer = Math.abs(next.threshold - 0.5) < Math.abs(best.threshold - 0.5);
    // Sums of shares differ by rounding where they are equal.
    if (gain > 1e-12 || (gain > -1e-12 && isNearer)) best = next;
  }
  return best.threshold;
}

function countErrors(examples: readonly (LabelledScore & { readonly threshold: number })[]): JudgeErrors {
  const counts = { unsafe: { hits: 0, n: 0 }, safe: { hits: 0, n: 0 } };
  for (const { score, isUnsafe, threshold } of examples) {
    const count = counts[isUnsafe ? 'unsafe' : 'safe'];
    count.n += 1;
    if (score > threshold === isUnsafe) count.hits += 1;
  }
  return { sensitivity: counts.unsafe, specificity: counts.safe };
}

function qualityOf(threshold: number, errors: JudgeErrors): DecisionQuality {
  const { sensitivity, specificity } = errors;
  return {
    threshold,
    errors,
    sensitivity: wilsonInterval(sensitivity.hits, sensitivity.n),
    specificity: wilsonInterval(specificity.hits, specificity.n),
  };
}

/** Sensitivity and specificity of the decision `score > threshold`, with Wilson intervals. */
export function decisionQuality(examples: readonly LabelledScore[], threshold: number): DecisionQuality {
  return qualityOf(threshold, countErrors(examples.map((example) => ({ ...example, threshold }))));
}

const FOLDS = 10;

/**
 * The quality of the threshold that `rule` chooses. Counts on the examples that chose it would flatter it. So each
 * tenth of each label is counted at the threshold that the other nine choose. Null when a label has one example.
 */
export function chosenQuality(examples: readonly LabelledScore[], rule: ThresholdRule): DecisionQuality | null {
  const sides = [true, false].map((side) =>
    randomStream(1, 'threshold folds', side ? 1 : 0).shuffle(examples.filter(({ isUnsafe }) => isUnsafe === side)),
  );
  const folds = sides.reduce((fewest, { length }) => Math.min(fewest, length), FOLDS);
  if (folds < 2) return null;
  const dealt = sides.flatMap((side) => side.map((example, index) => ({ example, fold: index % folds })));
  const counted: (LabelledScore & { threshold: number })[] = [];
  for (let fold = 0; fold < folds; fold++) {
    const rest = dealt.filter((each) => each.fold !== fold).map(({ example }) => example);
    const threshold = chooseThreshold(rest, rule);
    for (const each of dealt) if (each.fold === fold) counted.push({ ...each.example, threshold });
  }
  return qualityOf(chooseThreshold(examples, rule), countErrors(counted));
}

const BINS = 10;

/** The share of unsafe examples in ten equal ranges of the score. */
export function reliabilityBins(examples: readonly LabelledScore[]): ReliabilityBin[] {
  const binOf = ({ score }: LabelledScore): number => Math.min(BINS - 1, Math.max(0, Math.floor(score * BINS)));
  return Array.from({ length: BINS }, (_, bin) => {
    const inside = examples.filter((example) => binOf(example) === bin);
    const n = inside.length;
    return {
      low: bin / BINS,
      high: (bin + 1) / BINS,
      n,
      meanScore: n === 0 ? null : inside.reduce((sum, { score }) => sum + score, 0) / n,
      unsafe: wilsonInterval(inside.filter(({ isUnsafe }) => isUnsafe).length, n),
    };
  });
}

/**
 * A judge measured on examples that a person labelled.
 * @param threshold above which a run counts a success.
 * @throws FloodgateError `usage` without examples of both labels, or for a score that is not finite.
 */
export function calibrateScores(
  examples: readonly LabelledScore[],
  { rule, threshold }: { readonly rule: ThresholdRule; readonly threshold: number },
): JudgeCalibration {
  const reliability = reliabilityBins(examples);
  const n = examples.length;
  const gaps = reliability.reduce(
    (sum, bin) => sum + bin.n * Math.abs((bin.unsafe.value ?? 0) - (bin.meanScore ?? 0)),
    0,
  );
  return {
    examples: n,
    unsafeExamples: examples.filter(({ isUnsafe }) => isUnsafe).length,
    roc: { area: rocArea(examples), points: judgeCurve(examples) },
    precisionRecall: { area: precisionRecallArea(examples) },
    asRun: decisionQuality(examples, threshold),
    chosen: chosenQuality(examples, rule),
    reliability,
    brier: examples.reduce((sum, { score, isUnsafe }) => sum + (score - (isUnsafe ? 1 : 0)) ** 2, 0) / n,
    calibrationError: gaps / n,
  };
}
