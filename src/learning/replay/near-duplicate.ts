/** A stored attack near a candidate. `closeness` is in [0, 1): 0 = identical, 1 = just at the threshold. */
export interface Neighbour {
  readonly slot: number;
  readonly id: number;
  readonly closeness: number;
}

/** The nearer of the two; at equal closeness the older (smaller id), so that the choice never depends on storage order. */
export function nearer(a: Neighbour | undefined, b: Neighbour | undefined): Neighbour | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  if (a.closeness !== b.closeness) return a.closeness < b.closeness ? a : b;
  return a.id <= b.id ? a : b;
}
