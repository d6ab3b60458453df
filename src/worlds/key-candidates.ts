import { type RandomStream, randomStream } from '../base/random.ts';
import { createKey, type Key } from './keys.ts';
import type { WordRanking } from './request-grammar.ts';
import { GROUP_SIZE, type WorldSpec } from './world-spec.ts';

/** Candidates of one group; the world keeps some of them as its keys. */
export interface CandidateGroup {
  readonly name: string;
  readonly kind: 'pair' | 'triple' | 'odd';
  readonly candidates: readonly Key[];
  /** How many of them become keys. */
  readonly wanted: number;
}

/**
 * Candidates for each key wanted: enough to choose from by their measured probability, few enough that most of a
 * noun's adjectives still stand before it in the seeds.
 */
const PAIRS_PER_KEY = 1.5;
const TRIPLES_PER_KEY = 4;

/** Nouns of middling frequency: the commonest would make keys too likely, the rarest too unlikely. */
const NOUN_RANKS = { first: 2, last: 18 };

/** The first `count` of `order` by words that are likely, with a random element: p^u is the classic weighted shuffle. */
function likelyWords(
  words: readonly string[],
  probability: (word: string) => number,
  count: number,
  stream: RandomStream,
): string[] {
  return words
    .map((word) => ({ word, priority: stream.nextOpenFloat() ** (1 / probability(word)) }))
    .sort((a, b) => b.priority - a.priority)
    .slice(0, count)
    .map(({ word }) => word);
}

/**
 * The groups of a world of this seed: pairs (adjective noun) that share a noun, triples (verb adjective noun) that share
 * a noun, and odd words.
 */
export function drawCandidates({ seed, keys }: WorldSpec, ranking: WordRanking): CandidateGroup[] {
  const pairGroups = keys / 2 / GROUP_SIZE;
  const tripleGroups = keys / 4 / GROUP_SIZE;
  const stream = randomStream(seed, 'key candidates');
  const nouns = stream.shuffle(ranking.order.noun.slice(NOUN_RANKS.first, NOUN_RANKS.last));
  const groups: CandidateGroup[] = [];
  for (let group = 0; group < pairGroups + tripleGroups; group++) {
    const noun = nouns[group] as string;
    const isPair = group < pairGroups;
    const adjectives = stream.shuffle(ranking.order.adjective);
    const candidates = isPair
      ? adjectives.slice(0, GROUP_SIZE * PAIRS_PER_KEY).map((adjective) => createKey([adjective, noun], noun))
      : likelyTriples(ranking, stream, noun, GROUP_SIZE * TRIPLES_PER_KEY);
    groups.push({ name: noun, kind: isPair ? 'pair' : 'triple', candidates, wanted: GROUP_SIZE });
  }
  const odd = ranking.order.odd.map((word) => createKey([word], 'odd'));
  groups.push({ name: 'odd', kind: 'odd', candidates: odd, wanted: keys / 4 });
  return groups;
}

function likelyTriples(ranking: WordRanking, stream: RandomStream, noun: string, count: number): Key[] {
  const combinations = ranking.order.verb.flatMap((verb) =>
    ranking.order.adjective.map((adjective) => `${verb} ${adjective}`),
  );
  const probability = (pair: string): number => {
    const [verb, adjective] = pair.split(' ') as [string, string];
    return ranking.probabilityOf('verb', verb) * ranking.probabilityOf('adjective', adjective);
  };
  return likelyWords(combinations, probability, count, stream).map((pair) =>
    createKey([...pair.split(' '), noun], noun),
  );
}
