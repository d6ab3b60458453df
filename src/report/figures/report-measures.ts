import { z } from 'zod';
import type { StoredMetric } from '../../runs/store/records.ts';

/** One figure of a report. */
export const measure = z.strictObject({
  /** null: not known (no data), never zero. */
  value: z.number().nullable(),
  low: z.number().nullable(),
  high: z.number().nullable(),
  n: z.number(),
  /** The method behind value and interval, e.g. `wilson`. */
  method: z.string().optional(),
  confidence: z.number().nullable().optional(),
});

/** Figures by name. */
export const metrics = z.record(z.string(), measure);

export const cost = z.strictObject({
  targetCalls: z.number(),
  judgeCalls: z.number(),
  tokens: z.number(),
  seconds: z.number(),
});

type Measures = z.infer<typeof metrics>;

/** A stored figure as part of a report. */
export function toMeasure({ value, low, high, n, method, confidence }: StoredMetric): z.infer<typeof measure> {
  return {
    value,
    low,
    high,
    n,
    ...(method === undefined ? {} : { method }),
    ...(confidence === undefined ? {} : { confidence }),
  };
}

/** The last value of each metric. */
export function toMeasures(stored: readonly StoredMetric[]): Measures {
  // In the order of updates: the last value of a name remains.
  return Object.fromEntries(stored.map((metric) => [metric.name, toMeasure(metric)]));
}
