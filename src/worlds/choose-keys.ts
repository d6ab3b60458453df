import { randomStream } from '../base/random.ts';
import type { CandidateGroup } from './key-candidates.ts';
import type { Key } from './keys.ts';

/** A candidate and the expected number of times that it stands in a request of the reference. */
export interface RatedCandidate {
  readonly key: Key;
  readonly prior: number;
}

/** A planted key. */
export interface PlantedKey extends Key {
  /** Expected occurrences in one request of the world's own reference. */
  readonly prior: number;
  /** Probability that a response to a request with this key is an alarm, as it was meant. */
  readonly leak: number;
}

/** Priors between which keys are wanted: rarer ones cannot be found in a short run, commoner ones are found by luck. */
export const PRIOR_RANGE = { low: 1.5e-4, high: 3e-3 } as const;

/** Largest part of a leak's spread that is drawn by lot; the rest follows the prior. */
const LEAK_LOT = 0.3;
const LEAK_SPREAD = 0.4;

function distanceToRange(prior: number): number {
  if (prior < PRIOR_RANGE.low) return Math.log(PRIOR_RANGE.low / Math.max(prior, 1e-12));
  return prior > PRIOR_RANGE.high ? Math.log(prior / PRIOR_RANGE.high) : 0;
}

/** `wanted` candidates, those in the range first, spread evenly over their log prior. */
export function chooseFromGroup(rated: readonly RatedCandidate[], wanted: number): RatedCandidate[] {
  const pool = [...rated]
    .sort((a, b) => distanceToRange(a.prior) - distanceToRange(b.prior))
    .slice(0, Math.max(wanted, rated.filter(({ prior }) => distanceToRange(prior) === 0).length))
    .sort((a, b) => b.prior - a.prior);
  return Array.from({ length: wanted }, (_, i) => {
    const at = wanted === 1 ? 0 : Math.round((i * (pool.length - 1)) / (wanted - 1));
    return pool[at] as RatedCandidate;
  });
}

/**
 * The keys of a world with their leaks: the commoner a key, the less it leaks, so that the rewards of all of them lie
 * within reach of one sampler (leak = 1 - 0.4 hardness (0.7 u + 0.3 lot), u = 0 for the rarest and 1 for the commonest).
 */
export function chooseKeys(
  groups: readonly CandidateGroup[],
  priorOf: ReadonlyMap<string, number>,
  plan: { readonly seed: number; readonly hardness: number },
): PlantedKey[] {
  const chosen = groups.flatMap(({ candidates, wanted }) =>
    chooseFromGroup(
      candidates.map((key) => ({ key, prior: priorOf.get(key.text) ?? 0 })),
      wanted,
    ),
  );
  const logs = chosen.map(({ prior }) => Math.log(Math.max(prior, 1e-12)));
  const [lowest, highest] = [Math.min(...logs), Math.max(...logs)];
  const spread = LEAK_SPREAD * plan.hardness;
  return chosen.map(({ key, prior }, i) => {
    const u = highest === lowest ? 0 : ((logs[i] as number) - lowest) / (highest - lowest);
    const lot = randomStream(plan.seed, 'leak', key.text).nextFloat();
    return { ...key, prior, leak: Math.max(0, 1 - spread * ((1 - LEAK_LOT) * u + LEAK_LOT * lot)) };
  });
}
