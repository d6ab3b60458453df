import { maxOf } from '../../base/long-lists.ts';
import type { JudgeScore } from '../reward/reward.ts';

/** A distinct attack that training found, for smoothing. */
export interface CollectedAttack {
  /** Token ids as the policy graph takes them, the end token among them when it was written. */
  readonly ids: readonly number[];
  /** Absent for an attacker without cells. */
  readonly cell?: string;
  readonly text: string;
  /** The reference's term of the reward, nats, as `reward.fluency` shapes it. */
  readonly fluency: number;
  readonly score: JudgeScore;
}

export interface WeightRule {
  /** `uniform`: the paper. `balanced`: by cluster size. `reward`: proportional to R over distinct attacks. */
  readonly kind: 'uniform' | 'balanced' | 'reward';
  /** Size of each attack's cluster; read for `balanced` only. */
  readonly clusterSizes: readonly number[];
  /** `balanced`: an attack weighs 1 / size^balance. At 1 every cluster has the same share, at 0 every attack. */
  readonly balance: number;
  readonly logReward: (attack: CollectedAttack) => number;
}

/** No attack is drawn more often than this many times its equal share: a few rewards must not dominate the phase. */
const MAX_SHARE_RATIO = 20;

/**
 * Sampling weights of the collected attacks, summing to 1. Rewards over *distinct* attacks are the posterior restricted
 * to the attacks found. A cap bounds their variance; its excess is distributed over the others in proportion.
 */
export function collectionWeights(attacks: readonly CollectedAttack[], rule: WeightRule): number[] {
  const n = attacks.length;
  switch (rule.kind) {
    case 'uniform':
      return attacks.map(() => 1 / n);
    case 'balanced':
      return normalised(attacks.map((_, i) => 1 / Math.max(1, rule.clusterSizes[i] ?? 1) ** rule.balance));
    case 'reward': {
      const logRewards = attacks.map(rule.logReward);
      const largest = maxOf(logRewards);
      return capped(normalised(logRewards.map((logReward) => Math.exp(logReward - largest))), MAX_SHARE_RATIO / n);
    }
  }
}

function normalised(values: readonly number[]): number[] {
  const total = values.reduce((sum, value) => sum + value, 0);
  return values.map((value) => value / total);
}

/** Shares of at most `cap` each, still summing to 1 (water-filling); unchanged when the cap could not hold everything. */
function capped(shares: readonly number[], cap: number): number[] {
  if (cap * shares.length <= 1) return [...shares];
  let result = [...shares];
  for (let round = 0; round < shares.length; round++) {
    const excess = result.reduce((sum, share) => sum + Math.max(0, share - cap), 0);
    if (excess < 1e-12) break;
    const below = result.reduce((sum, share) => sum + (share < cap ? share : 0), 0);
    if (below === 0) break;
    result = result.map((share) => (share >= cap ? cap : share * (1 + excess / below)));
  }
  return normalised(result);
}
