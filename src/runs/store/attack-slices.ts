/** Rows that one statement may look at: some 20 ms, so that other requests are answered in between. */
export const SLICE = 50_000;
/** A page is answered after this time, full or not. */
const MAX_SEARCH_MS = 800;

/** A walk over rows by their ids, the newest first. */
export interface Descent {
  /** The first id of all. */
  readonly low: number;
  /** Only ids below this one. */
  readonly top: number;
  /** Ids that `look` gets at once. Default: `SLICE`. */
  readonly slice?: number;
  /** Ends the walk early. */
  readonly signal?: AbortSignal | undefined;
}

/** How far a look came: it has seen all ids from `top` on. */
export interface Look {
  readonly top: number;
  /** Ends the walk. */
  readonly isEnough?: boolean;
}

/**
 * Looks at slices of ids, and lets other requests in between, until nothing is left, a look has enough or time is up.
 * @param look gets the first id of the slice, and the id behind its last one.
 * @returns the id that the walk came down to: the next one begins there; at most `low` at the end.
 */
export async function descend(
  { low, top, slice = SLICE, signal }: Descent,
  look: (from: number, before: number) => Look,
): Promise<number> {
  const end = performance.now() + MAX_SEARCH_MS;
  let at = top;
  while (at > low) {
    const { top: reached, isEnough = false } = look(Math.max(low, at - slice), at);
    at = reached;
    if (isEnough || performance.now() > end || signal?.aborted) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return at;
}
