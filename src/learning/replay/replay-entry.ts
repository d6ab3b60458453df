import type { AttackTokens, RewardedAttack } from '../attack.ts';

/**
 * An attack offered to the replay buffer. It holds the parts of the reward, not the reward, because T and gamma change.
 */
export interface ReplayCandidate extends RewardedAttack {
  /** Sentence embedding [D], L2-normalised; needed when near-duplicates are told by cosine. */
  readonly embedding?: Float32Array;
  /** The update that sampled it; 0 for seeds. */
  readonly addedAtUpdate: number;
}

/** A stored attack. `id` grows with every entry ever stored, so a smaller id is an older entry. */
export interface ReplayEntry extends ReplayCandidate {
  readonly id: number;
}

/** log R under the current schedules. Pass one function per update: the buffer re-keys when the function changes. */
export type LogRewardOf = (attack: RewardedAttack) => number;

/** Equal for two attacks exactly when tokens and ending are equal: same sequence, same probability. */
export function sequenceKey(candidate: AttackTokens): string {
  return `${candidate.tokens.join(',')}${candidate.terminated ? '.' : ''}`;
}

/** The rank of entries: `judge` = logS alone, `reward` = log R under the current schedules. */
export type RankBy = 'judge' | 'reward';

export interface ReplayBufferOptions {
  /** Most entries held; the paper's runs use 1,000 to 5,000. */
  readonly capacity: number;
  /** A full buffer evicts its lowest entry by this rank. */
  readonly evictBy: RankBy;
  /** A near-duplicate must be strictly higher by this rank to replace its nearest neighbour. */
  readonly replaceBy: RankBy;
  /**
   * When the same sequence comes again: average over all responses so far, or keep the higher score (keeps lucky
   * draws).
   */
  readonly rescore: 'average' | 'keep-higher';
  /** Near-duplicate when edit distance < this * (|a| + |b|); null = off. */
  readonly nearEditRatio: number | null;
  /** Near-duplicate when cosine > this; null = off. Every entry then needs an embedding. */
  readonly nearCosine: number | null;
}

/** The paper's near-duplicate rule by tokens, but with averaged scores instead of the luckier draw. */
export const REPLAY_BUFFER_DEFAULTS: ReplayBufferOptions = {
  capacity: 1000,
  evictBy: 'reward',
  replaceBy: 'reward',
  rescore: 'average',
  nearEditRatio: 0.25,
  nearCosine: null,
};

/** The outcome of an offered attack. All ids are entry ids. */
export type InsertOutcome =
  | { readonly kind: 'inserted'; readonly id: number }
  /** Full: the lowest entry was evicted. */
  | { readonly kind: 'inserted-evicting'; readonly id: number; readonly evicted: number }
  /** Full, and the candidate is not strictly above the lowest entry. */
  | { readonly kind: 'evicted-self' }
  /** A near-duplicate with a strictly higher rank replaced its nearest neighbour. */
  | { readonly kind: 'replaced'; readonly id: number; readonly replaced: number }
  /** A near-duplicate not strictly above its nearest neighbour. */
  | { readonly kind: 'near-duplicate-rejected'; readonly nearest: number }
  /** The same sequence again, averaged into the entry. */
  | { readonly kind: 'duplicate-averaged'; readonly id: number }
  /** The same sequence again with a higher logS, which the entry now has (`keep-higher`). */
  | { readonly kind: 'duplicate-raised'; readonly id: number }
  /** The same sequence again, not higher: nothing changed (`keep-higher`). */
  | { readonly kind: 'duplicate-kept'; readonly id: number };

export type OutcomeCounts = Readonly<Record<InsertOutcome['kind'], number>>;

export const NO_OUTCOMES: OutcomeCounts = {
  inserted: 0,
  'inserted-evicting': 0,
  'evicted-self': 0,
  replaced: 0,
  'near-duplicate-rejected': 0,
  'duplicate-averaged': 0,
  'duplicate-raised': 0,
  'duplicate-kept': 0,
};
