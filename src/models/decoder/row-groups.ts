export interface GroupLimits {
  readonly maxRows: number;
  /** Of a group padded to its longest row: rows x longest. A row that is longer by itself gets a group alone. */
  readonly maxTokens: number;
}

/** Cuts rows of these lengths, in order, into groups that fit: [start, end) each. Bounds memory, changes no row. */
export function groupRows(lengths: readonly number[], limits: GroupLimits): [start: number, end: number][] {
  const groups: [number, number][] = [];
  let start = 0;
  let longest = 0;
  for (const [row, length] of lengths.entries()) {
    const padded = Math.max(longest, length);
    const rows = row - start + 1;
    if (rows > 1 && (rows > limits.maxRows || rows * padded > limits.maxTokens)) {
      groups.push([start, row]);
      start = row;
      longest = length;
    } else {
      longest = padded;
    }
  }
  if (lengths.length > 0) groups.push([start, lengths.length]);
  return groups;
}
