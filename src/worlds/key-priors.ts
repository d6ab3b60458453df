import type { Attacker, AttackerState } from '../learning/attacker.ts';
import { drawPrefixes, forcedPlaces } from './forced-keys.ts';
import type { CandidateGroup } from './key-candidates.ts';

/** Requests of the reference whose beginnings the priors are averaged over. */
const PREFIXES = 128;

/** Expected number of times that each candidate stands in one request of the reference, by the candidate's text. */
export async function measurePriors(
  attacker: Attacker,
  reference: AttackerState,
  groups: readonly CandidateGroup[],
  seed: number,
): Promise<Map<string, number>> {
  const prefixes = await drawPrefixes(attacker, reference, { count: PREFIXES, seed, name: 'prior prefix' });
  const priors = new Map<string, number>();
  for (const key of groups.flatMap(({ candidates }) => candidates)) {
    const places = await forcedPlaces(attacker, reference, prefixes, key);
    priors.set(key.text, places.reduce((sum, { probability }) => sum + probability, 0) / prefixes.length);
  }
  return priors;
}
