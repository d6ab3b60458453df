/** Levenshtein distance over token ids (insertions, deletions, substitutions of cost 1), whole and bounded. */

/** The edit distance of `a` and `b`. O(|a| * |b|). */
export function editDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return boundedEditDistance(a, b, Math.max(a.length, b.length));
}

/**
 * The edit distance of `a` and `b` when it is at most `limit`, otherwise `limit + 1`.
 * Visits only the diagonal band that can hold a path of cost <= limit (Ukkonen): O(limit * min(|a|, |b|)).
 */
export function boundedEditDistance(a: ArrayLike<number>, b: ArrayLike<number>, limit: number): number {
  const beyond = limit + 1;
  if (Math.abs(a.length - b.length) > limit) return beyond;
  let previous = new Int32Array(b.length + 1).fill(beyond);
  let current = new Int32Array(b.length + 1).fill(beyond);
  for (let j = 0; j <= Math.min(b.length, limit); j++) previous[j] = j;
  for (let i = 1; i <= a.length; i++) {
    if (fillBandRow(a[i - 1] as number, b, { row: i, limit, previous, current }) > limit) return beyond;
    [previous, current] = [current, previous];
  }
  return Math.min(previous[b.length] as number, beyond);
}

interface BandRow {
  /** 1-based row of the table, i.e. how many tokens of `a` are consumed. */
  readonly row: number;
  readonly limit: number;
  readonly previous: Int32Array;
  readonly current: Int32Array;
}

/** Fills one row of the band and returns its smallest cost: once that passes the limit no path can come back. */
function fillBandRow(token: number, b: ArrayLike<number>, { row, limit, previous, current }: BandRow): number {
  const first = Math.max(1, row - limit);
  const last = Math.min(b.length, row + limit);
  const beyond = limit + 1;
  current[first - 1] = first === 1 ? Math.min(row, beyond) : beyond;
  let smallest = current[first - 1] as number;
  for (let j = first; j <= last; j++) {
    const substitute = (previous[j - 1] as number) + (token === b[j - 1] ? 0 : 1);
    const gap = Math.min(previous[j] as number, current[j - 1] as number) + 1;
    const cost = Math.min(substitute, gap, beyond);
    current[j] = cost;
    if (cost < smallest) smallest = cost;
  }
  // The next row reads one cell past this row's band; a stale value there would be too cheap.
  if (last < b.length) current[last + 1] = beyond;
  return smallest;
}
