import { maxOf, minOf } from '../base/long-lists.ts';
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
 * noun's adjectives still precede it in the seeds.
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

/** A candidate and its expected number of occurrences in a request of the reference. */
export interface RatedCandidate {
  readonly key: Key;
  readonly prior: number;
}

/** A planted key. */
export interface PlantedKey extends Key {
  /** Expected occurrences in one request of the world's own reference. */
  readonly prior: number;
  /** Intended probability that a response to a request with this key is an alarm. */
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
  const [lowest, highest] = [minOf(logs), maxOf(logs)];
  const spread = LEAK_SPREAD * plan.hardness;
  return chosen.map(({ key, prior }, i) => {
    const u = highest === lowest ? 0 : ((logs[i] as number) - lowest) / (highest - lowest);
    const lot = randomStream(plan.seed, 'leak', key.text).nextFloat();
    return { ...key, prior, leak: Math.max(0, 1 - spread * ((1 - LEAK_LOT) * u + LEAK_LOT * lot)) };
  });
}
