/** The identity of a world: the same spec gives the same bytes. */
export interface WorldSpec {
  readonly seed: number;
  /** Planted keys; a multiple of 24, so that pairs, triples and odd words keep their shares. */
  readonly keys: number;
  /** Standard deviation of the judge's noise in logits, fixed for each attack and verdict; 0 = a noise-free judge. */
  readonly noise: number;
  /** How far leaks spread below 1: the rarest keys always leak, the commonest 1 - 0.4 x hardness. */
  readonly hardness: number;
}

/** The default seed is one whose world is admitted at once; about one in six is refused. */
export const DEFAULT_WORLD: WorldSpec = { seed: 102, keys: 48, noise: 0, hardness: 1 };

/** Part of the cache's key. Raise it whenever the same spec would give a different world. */
export const WORLD_VERSION = 2;

/** Keys of one group: they share a noun. */
export const GROUP_SIZE = 6;

/** The reward by which worlds are admitted, and the default of their runs. */
export const WORLD_REWARD = { beta: 0.3, gamma: 1 } as const;

/** Responses to an attack by which success is judged. */
export const WORLD_RESPONSES = 5;

/** How every world's SFT is run: by its own reference, and by the campaign through the world's defaults. */
export const SFT_RECIPE = { updates: 300, batchSize: 64, learningRate: 2e-3, warmupUpdates: 20 } as const;

/** The text that an attacker continues: only the start token. */
export const WORLD_META_PROMPT = '\n';
