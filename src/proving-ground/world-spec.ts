/** What tells one world from another; the same spec gives the same bytes. */
export interface WorldSpec {
  readonly seed: number;
  /** Planted keys; a multiple of 24, so that pairs, triples and odd words keep their shares. */
  readonly keys: number;
  /** Standard deviation of the judge's noise in logits, fixed for each attack and verdict; 0 = a noise-free judge. */
  readonly noise: number;
  /** How far leaks spread below 1: the rarest keys leak always, the commonest 1 - 0.4 x hardness. */
  readonly hardness: number;
}

export const DEFAULT_WORLD: WorldSpec = { seed: 0, keys: 48, noise: 0, hardness: 1 };

/** Raised whenever a world of the same spec would come out different: part of the cache's key. */
export const WORLD_VERSION = 1;

/** Keys of one group: they share a noun. */
export const GROUP_SIZE = 6;
