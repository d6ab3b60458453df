import { FloodgateError } from './errors.ts';

/** How far from 1 the length of a vector may be and still count as L2-normalised in fp32. */
const UNIT_NORM_TOLERANCE = 1e-3;

/** The dot product of `width` numbers of `a` from `aOffset` and of `b` from `bOffset`, summed in float64. */
export function dotAt(a: Float32Array, aOffset: number, b: Float32Array, bOffset: number, width: number): number {
  let sum = 0;
  for (let d = 0; d < width; d++) sum += (a[aOffset + d] as number) * (b[bOffset + d] as number);
  return sum;
}

/**
 * Checks that the row of `width` numbers at `offset` has length 1: cosines are read as plain dot products.
 * @throws FloodgateError `usage` when it has not (this also catches NaN and infinities).
 */
export function assertUnitRow(data: Float32Array, offset: number, width: number, operation: string): void {
  const norm = Math.sqrt(dotAt(data, offset, data, offset, width));
  if (Math.abs(norm - 1) <= UNIT_NORM_TOLERANCE) return;
  throw new FloodgateError('usage', `${operation}: embedding is not L2-normalised, got length ${norm}, expected 1`);
}
