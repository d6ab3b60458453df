import { expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import {
  calibrateScores,
  chooseThreshold,
  chosenQuality,
  decisionQuality,
  reliabilityBins,
} from '../../src/metrics/judge-calibration.ts';
import { judgeCurve, type LabelledScore, precisionRecallArea, rocArea } from '../../src/metrics/judge-curves.ts';

const scored = (unsafe: readonly number[], safe: readonly number[]): LabelledScore[] => [
  ...unsafe.map((score) => ({ score, isUnsafe: true })),
  ...safe.map((score) => ({ score, isUnsafe: false })),
];

const EXAMPLES = scored([0.9, 0.8, 0.7, 0.55, 0.3], [0.7, 0.5, 0.4, 0.3, 0.2, 0.1]);

// Computed apart, from the definitions: all 30 pairs, DeLong's two variances, and the sum over thresholds.
test('the areas have the values of their definitions', () => {
  const { value, low, high, method } = rocArea(EXAMPLES);
  expect(value).toBeCloseTo(25 / 30, 12);
  expect(low).toBeCloseTo(0.4349189671106662, 8);
  expect(high).toBeCloseTo(0.9701331811511243, 8);
  expect(method).toBe('DeLong, logit');
  const precision = precisionRecallArea(EXAMPLES);
  expect(precision.value).toBeCloseTo(0.8211111111111111, 12);
  expect(precision.low).toBeLessThan(0.8);
  expect(precision.high).toBeGreaterThan(0.9);
});

test('scores that separate the labels have an area of 1 that few examples leave uncertain', () => {
  const few = rocArea(scored([0.9, 0.8, 0.7], [0.1, 0.2, 0.3]));
  const many = rocArea(scored(Array(100).fill(0.9), Array(100).fill(0.1)));
  expect(few).toMatchObject({ value: 1, high: 1, method: 'Newcombe method 5' });
  expect(few.low).toBeLessThan(0.7);
  expect(many.low).toBeGreaterThan(0.95);
  expect(rocArea(scored([0.5, 0.5], [0.5, 0.5])).value).toBe(0.5);
});

test("DeLong's interval covers the area of two normal scores", () => {
  // P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2).
  const truth = 0.7602499389065233;
  let covered = 0;
  for (let i = 0; i < 400; i++) {
    const stream = randomStream(5, 'auc', i);
    const draw = (mean: number) => Array.from({ length: 40 }, () => mean + stream.nextNormal());
    const { low, high } = rocArea(scored(draw(1), draw(0)));
    if ((low ?? 1) <= truth && truth <= (high ?? 0)) covered += 1;
  }
  expect(covered).toBeGreaterThanOrEqual(366); // P(Binomial(400, 0.95) < 366) = 1e-3
});

test('the curve runs from nothing called unsafe to everything', () => {
  const points = judgeCurve(EXAMPLES);
  expect(points[0]).toMatchObject({ sensitivity: 0, specificity: 1, precision: null });
  expect(points.at(-1)).toMatchObject({ threshold: null, sensitivity: 1, specificity: 0 });
  for (const { threshold, sensitivity, specificity } of points.slice(0, -1)) {
    const quality = decisionQuality(EXAMPLES, threshold as number);
    expect(quality.sensitivity.value).toBeCloseTo(sensitivity, 12);
    expect(quality.specificity.value).toBeCloseTo(specificity, 12);
  }
});

test('the rules choose their thresholds', () => {
  // Above 0.525: 4 of 5 unsafe and 5 of 6 safe are right; no other threshold has a greater sum.
  expect(chooseThreshold(EXAMPLES, { kind: 'youden' })).toBeCloseTo(0.525, 12);
  const strict = chooseThreshold(EXAMPLES, { kind: 'specificity', least: 1 });
  expect(strict).toBeCloseTo(0.75, 12);
  expect(decisionQuality(EXAMPLES, strict).specificity).toMatchObject({ value: 1, method: 'wilson' });
  // A safe example has the highest score: only "none is unsafe" has full specificity.
  expect(chooseThreshold(scored([0.2], [1]), { kind: 'specificity', least: 1 })).toBe(1);
  expect(chooseThreshold(scored([0], [0]), { kind: 'specificity', least: 0 })).toBe(-1);
});

test('a threshold chosen among noise is not flattered by the examples that chose it', () => {
  const rule = { kind: 'youden' } as const;
  const sum = (quality: ReturnType<typeof decisionQuality> | null) =>
    (quality?.sensitivity.value ?? 9) + (quality?.specificity.value ?? 9);
  let [seen, unseen] = [0, 0];
  for (let i = 0; i < 50; i++) {
    const stream = randomStream(11, 'noise', i);
    const draw = () => Array.from({ length: 40 }, () => stream.nextFloat());
    const noise = scored(draw(), draw());
    seen += sum(decisionQuality(noise, chooseThreshold(noise, rule))) / 50;
    unseen += sum(chosenQuality(noise, rule)) / 50;
  }
  // A judge that guesses has a sum of 1.
  expect(seen).toBeGreaterThan(1.1);
  expect(Math.abs(unseen - 1)).toBeLessThan(0.05);
  expect(chosenQuality(scored([0.4], [0.1, 0.2]), rule)).toBeNull();
});

test('reliability counts each example in one bin, the scores 0 and 1 too', () => {
  const bins = reliabilityBins(scored([1, 0.95, 0.1], [0, 0.05]));
  expect(bins.map(({ n }) => n)).toEqual([2, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
  expect(bins[9]?.meanScore).toBeCloseTo(0.975, 12);
  expect(bins[9]?.unsafe.value).toBe(1);
  expect(bins[2]).toMatchObject({ meanScore: null, unsafe: { value: null } });
});

test('one call gives every figure', () => {
  const found = calibrateScores(EXAMPLES, { rule: { kind: 'youden' }, threshold: 0.5 });
  expect(found).toMatchObject({ examples: 11, unsafeExamples: 5 });
  expect(found.brier).toBeCloseTo(0.17022727272727273, 12);
  expect(found.asRun.errors).toEqual({ sensitivity: { hits: 4, n: 5 }, specificity: { hits: 5, n: 6 } });
  expect(found.chosen?.threshold).toBeCloseTo(0.525, 12);
  expect(found.chosen?.errors.sensitivity.n).toBe(5);
  expect(found.calibrationError).toBeGreaterThan(0);
  expect(JSON.parse(JSON.stringify(found))).toEqual(found);
});

test('a file of one label, and a score that is no number, are refused', () => {
  expect(() => rocArea(scored([0.5], []))).toThrow('got 1 unsafe and 0 safe examples, expected both');
  expect(() => judgeCurve(scored([Number.NaN], [0.1]))).toThrow('NaN');
});
