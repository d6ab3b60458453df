import type { Measure } from './measure.ts';

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
