import type { Measure } from '../../src/metrics/measure.ts';
import type { CalibrationTrial } from './enumerable-trial.ts';

/** Rounding of fp32 log-probs, summed over all attacks. */
const SLACK = 1e-6;

/** True where the interval holds the truth, or nothing was claimed. */
export function holds({ low, high }: Measure, truth: number): boolean {
  // No success at all: nothing was claimed of the missing mass, so nothing was missed.
  if (low === null || high === null) return true;
  return low <= truth + SLACK && truth <= high + SLACK;
}

/** In how many worlds each interval held the truth, and Chao1's lower limit stayed at or below it. */
export function holdCounts(trials: readonly CalibrationTrial[]) {
  const count = (isHeld: (trial: CalibrationTrial) => boolean): number => trials.filter(isHeld).length;
  return {
    missingMass: count(({ missingMass, trueMissingMass }) => holds(missingMass, trueMissingMass)),
    chao1Lower: count(({ chao1, trueClusters }) => (chao1.low ?? 0) <= trueClusters),
    referenceFailureRate: count(({ rate, trueRate }) => holds(rate, trueRate)),
  };
}

/** The report of a calibration, a line each. */
export function summarise(trials: readonly CalibrationTrial[]): string[] {
  const held = holdCounts(trials);
  const used = trials.filter(({ flaw }) => flaw === undefined);
  const width = ({ low, high }: Measure): number => (high ?? 1) - (low ?? 0);
  return [
    `worlds: ${trials.length}`,
    `missing mass: interval held the truth in ${held.missingMass}; ${spread(trials.map((t) => t.trueMissingMass))} true, ` +
      `${spread(trials.map((t) => width(t.missingMass)))} wide; no success in ${trials.filter((t) => t.missingMass.value === null).length}`,
    `chao1: lower limit at or below the truth in ${held.chao1Lower}; ${spread(trials.map((t) => t.trueClusters))} true, ` +
      `${spread(trials.map((t) => (t.chao1.value ?? 0) / t.trueClusters))} estimated / true`,
    `reference failure rate: interval held the truth in ${held.referenceFailureRate}; ` +
      `${spread(trials.map((t) => t.trueRate))} true, ${spread(trials.map((t) => width(t.rate)))} wide`,
    `proposal flagged and left out in ${trials.length - used.length} worlds`,
    `variance of plain sampling / mixture at equal target calls, exact: ${spread(trials.map((t) => t.trueVarianceRatio))} in all, ` +
      `${spread(used.map((t) => t.trueVarianceRatio))} where not flagged`,
    `the same as estimated: ${spread(trials.flatMap((t) => t.varianceRatio.value ?? []))} in all`,
    ...trials
      .filter((t) => !(holds(t.missingMass, t.trueMissingMass) && holds(t.rate, t.trueRate)))
      .map((t) => `missed: ${t.setting} ${JSON.stringify([t.trueMissingMass, t.missingMass, t.trueRate, t.rate])}`),
  ];
}

/** Median and the middle half. */
export function spread(values: readonly number[]): string {
  if (values.length === 0) return 'none';
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.round(share * (sorted.length - 1))] as number).toPrecision(3);
  return `${at(0.5)} (${at(0.25)} to ${at(0.75)})`;
}
