import type { Verdict } from './judge.ts';

/** How far outside [0, 1] counts as rounding of a float32 sum, and is clamped. */
const ROUNDING = 1e-5;

/** A scored verdict, or `unscored` with a reason when `value` is no probability (NaN, infinite, out of range). */
export function toVerdict(value: number | undefined, judge: string): Verdict {
  if (value === undefined) return unscored(`${judge}: returned no value for this exchange`);
  if (!Number.isFinite(value)) return unscored(`${judge}: returned ${value}, expected a probability in [0, 1]`);
  if (value < -ROUNDING || value > 1 + ROUNDING) {
    return unscored(`${judge}: returned ${value}, expected a probability in [0, 1]`);
  }
  return { kind: 'scored', unsafe: Math.min(1, Math.max(0, value)) };
}

export function unscored(reason: string): Verdict {
  return { kind: 'unscored', reason };
}
