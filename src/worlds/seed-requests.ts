import { randomStream } from '../base/random.ts';
import type { CandidateGroup } from './key-candidates.ts';
import { createKeyFinder } from './keys.ts';
import { drawRequest, type WordRanking } from './request-grammar.ts';

/** Requests that the attacker first imitates. */
export const SEED_COUNT = 1500;

/**
 * The seeds of a world: requests of its grammar in which no pair and no triple that may become a key occurs. Odd words
 * do, for a word that no seed holds has no probability to speak of; they are a quarter of the keys.
 */
export function drawSeeds(seed: number, ranking: WordRanking, groups: readonly CandidateGroup[]): string[] {
  const held = createKeyFinder(groups.filter(({ kind }) => kind !== 'odd').flatMap(({ candidates }) => candidates));
  const seeds: string[] = [];
  for (let draw = 0; seeds.length < SEED_COUNT; draw++) {
    const words = drawRequest(ranking, randomStream(seed, 'seed request', draw)).map(({ word }) => word);
    if (held.heldBy(words).length === 0) seeds.push(words.join(' '));
  }
  return seeds;
}
