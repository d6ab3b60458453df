import { z } from 'zod';
import type { StoredMetric } from '../../runs/store/records.ts';

/** One figure of a report. */
export const measure = z.strictObject({
  /** null: not known (no data), never zero. */
  value: z.number().nullable(),
  low: z.number().nullable(),
  high: z.number().nullable(),
  n: z.number(),
  /** How value and interval came about, e.g. `wilson`. */
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

/** A stored figure as a report has it. */
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
  // Ordered by update: the last one of a name stands.
  return Object.fromEntries(stored.map((metric) => [metric.name, toMeasure(metric)]));
}
