import type { Measure } from '../metrics/measure.ts';
import type { MetricRecord } from '../runs/store/records.ts';

/** A figure without an interval; `n` is the number of attacks or updates behind it. */
export function plainMetric(name: string, value: number | null, n: number, judge?: string): MetricRecord {
  return { name, value, low: null, high: null, n, ...(judge === undefined ? {} : { judge }) };
}

/** A measure with its interval and method. */
export function measuredMetric(name: string, measure: Measure, judge?: string): MetricRecord {
  return { name, ...measure, ...(judge === undefined ? {} : { judge }) };
}

/** `plainMetric` of the mean over rows, unknown (null) without any. */
export function meanMetric<T>(name: string, rows: readonly T[], pick: (row: T) => number): MetricRecord {
  const n = rows.length;
  return plainMetric(name, n === 0 ? null : rows.reduce((sum, row) => sum + pick(row), 0) / n, n);
}
