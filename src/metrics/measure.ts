/** One measured number with its interval, JSON-safe. An unknown number (no data, one seed) is null, never NaN or 0. */
export interface Measure {
  readonly value: number | null;
  /** Bounds of the interval at `confidence`; null without an interval. */
  readonly low: number | null;
  readonly high: number | null;
  /** How many attacks, successes or seeds were counted or averaged; `method` says which. */
  readonly n: number;
  /** How value and interval were computed, e.g. `wilson`, `t over seeds`; reports show it. */
  readonly method: string;
  /** Nominal coverage of the interval; null without an interval. */
  readonly confidence: number | null;
}

/** Coverage of every interval unless a caller asks for another. */
export const DEFAULT_CONFIDENCE = 0.95;

/** A measure without an interval. A value that is not finite becomes null. */
export function pointMeasure(value: number | null, n: number, method: string): Measure {
  return { value: finiteOrNull(value), low: null, high: null, n, method, confidence: null };
}

export interface MeasuredInterval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly n: number;
  readonly method: string;
  readonly confidence: number;
}

/** A measure with an interval, or without one when a bound is not finite. */
export function intervalMeasure({ value, low, high, n, method, confidence }: MeasuredInterval): Measure {
  const isKnown = [value, low, high].every(Number.isFinite);
  return isKnown ? { value, low, high, n, method, confidence } : pointMeasure(value, n, method);
}

function finiteOrNull(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null;
}

/**
 * A count (unique attacks) per 1,000 target calls, with its interval scaled too. Null without calls. A fair comparison
 * counts every call that led to these attacks, those of training included.
 */
export function perThousandTargetCalls(count: Measure, targetCalls: number): Measure {
  const scaled = (x: number | null): number | null =>
    x === null || targetCalls <= 0 ? null : (1000 * x) / targetCalls;
  return {
    ...count,
    value: scaled(count.value),
    low: scaled(count.low),
    high: scaled(count.high),
    method: `${count.method}, per 1,000 of ${targetCalls} target calls`,
  };
}
