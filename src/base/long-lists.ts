/**
 * Lists of any length. `Math.max(...list)` and `list.push(...more)` pass the list as arguments, on the engine's stack:
 * some 125,000 of them end in a RangeError.
 */

/** The largest value: -Infinity of none, NaN when one is NaN, as `Math.max` has it. */
export function maxOf(values: Iterable<number>): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of values) largest = Math.max(largest, value);
  return largest;
}

/** The smallest value: Infinity of none, NaN when one is NaN, as `Math.min` has it. */
export function minOf(values: Iterable<number>): number {
  let smallest = Number.POSITIVE_INFINITY;
  for (const value of values) smallest = Math.min(smallest, value);
  return smallest;
}

/** Appends all of `more` to `list`. */
export function append<T>(list: T[], more: Iterable<T>): void {
  for (const item of more === list ? [...list] : more) list.push(item);
}
