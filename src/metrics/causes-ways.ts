import { comparableWords, holdsCause } from './causes.ts';
import type { FoundCauses, SearchedCause } from './causes-search.ts';
import { wilsonInterval } from './intervals.ts';
import { type Measure, pointMeasure } from './measure.ts';
import { chao1, countRare, type DiscoveryPoint, discoveryCurve, missingMass } from './species-sampling.ts';

/**
 * Causes that share more than this part of their words, after lower-casing, are one way. Exactly half is too little: in
 * synthetic worlds it joins planted keys that share two of their three words.
 */
export const SHARED_WORDS = 0.5;
/** So are causes of at least this cosine. */
export const SHARED_COSINE = 0.8;

/** |A and B| / |A or B| of two sets of words, after lower-casing; 0 for two empty sets. */
export function wordJaccard(a: readonly string[], b: readonly string[]): number {
  const [first, second] = [a, b].map((words) => new Set(words.map((word) => word.toLowerCase()))) as [
    Set<string>,
    Set<string>,
  ];
  const shared = [...first].filter((word) => second.has(word)).length;
  const all = first.size + second.size - shared;
  return all === 0 ? 0 : shared / all;
}

/** The searches of one way; the first one founded it, with its shortest cause. */
export interface CauseWay {
  readonly searches: readonly number[];
}

export interface GroupCausesOptions {
  /** Cosine of the causes of two searches. */
  cosine(a: number, b: number): number;
}

/**
 * Groups the causes found into ways, greedily, the shortest first: a cause joins the way whose founder is nearest to it,
 * if it holds the founder (it is then not the smallest part) or if the two share their words or their meaning; else it
 * founds one.
 */
export function groupCauses(searches: readonly SearchedCause[], { cosine }: GroupCausesOptions): CauseWay[] {
  const causes = searches
    .flatMap(({ result }, search) => (result.kind === 'cause' ? [{ search, words: result.words }] : []))
    .sort((a, b) => a.words.length - b.words.length || a.search - b.search);
  const ways: { founder: readonly string[]; searches: number[] }[] = [];
  for (const { search, words } of causes) {
    /** In [0, 1]; 0 for another way. */
    const nearnessOf = ({ founder, searches: [first] }: (typeof ways)[number]): number => {
      if (holdsCause(comparableWords(words), founder)) return 1;
      const [shared, meaning] = [wordJaccard(words, founder), cosine(search, first as number)];
      return shared > SHARED_WORDS || meaning >= SHARED_COSINE ? Math.max(shared, meaning) : 0;
    };
    let nearest: (typeof ways)[number] | undefined;
    let highest = 0;
    for (const way of ways) {
      const nearness = nearnessOf(way);
      if (nearness <= highest) continue;
      highest = nearness;
      nearest = way;
    }
    if (nearest === undefined) ways.push({ founder: words, searches: [search] });
    else nearest.searches.push(search);
  }
  return ways.map(({ searches: each }) => ({ searches: each }));
}

/** The way of each success, in their order: that of the search whose cause it holds; undefined where none is known. */
export function waysOfSuccesses(heldBy: FoundCauses['heldBy'], ways: readonly CauseWay[]): (number | undefined)[] {
  const wayOf = new Map(ways.flatMap(({ searches }, way) => searches.map((search) => [search, way] as const)));
  return heldBy.map((search) => (search === undefined ? undefined : wayOf.get(search)));
}

export interface CauseFigures {
  /** Ways by their causes, with the interval of a new sample of this size where every success was looked at. */
  readonly ways: Measure;
  /** Share of the searched successes that did not succeed again. */
  readonly unstable: Measure;
  /** Probability that the next stable success belongs to a way not yet seen (Good and Turing). */
  readonly missingMass: Measure;
  /** Lower bound of the number of ways. */
  readonly chao1: Measure;
  /** Ways against attacks evaluated, up to twice as many. */
  readonly curve: readonly DiscoveryPoint[];
}

/**
 * Figures over causes from one *independent* sample of the attacker at temperature 1. Successes count up to the first
 * one that holds no known cause and was not searched: the successes before it are a sample too, and the way of each is
 * known. Unstable successes are left out.
 * @param attacks evaluated, failures included.
 */
export function causeFigures(
  { successes, attacks }: { readonly successes: readonly number[]; readonly attacks: number },
  { searches, heldBy }: FoundCauses,
  ways: readonly CauseWay[],
): CauseFigures {
  const firstOpen = heldBy.indexOf(undefined);
  const covered = firstOpen < 0 ? attacks : (successes[firstOpen] as number);
  const counts = new Array<number>(ways.length).fill(0);
  for (const way of waysOfSuccesses(firstOpen < 0 ? heldBy : heldBy.slice(0, firstOpen), ways)) {
    if (way !== undefined) counts[way] = (counts[way] as number) + 1;
  }
  const sizes = counts.filter((count) => count > 0);
  const rare = countRare(
    sizes,
    sizes.reduce((sum, size) => sum + size, 0),
  );
  const curve = discoveryCurve(sizes, { attacks: covered });
  const whole = firstOpen < 0 ? curve.find((point) => point.attacks === attacks)?.clusters : undefined;
  const stable = searches.filter(({ result }) => result.kind === 'cause').length;
  return {
    ways:
      whole ?? pointMeasure(ways.length, attacks, `causes of ${searches.length} successes; others were not searched`),
    unstable: wilsonInterval(searches.length - stable, searches.length),
    missingMass: missingMass(rare),
    chao1: atLeast(ways.length, chao1(sizes.length, rare)),
    curve,
  };
}

/** The estimate reads the covered sample alone. Ways found beyond it are there for certain, so no bound is below them. */
function atLeast(seen: number, measure: Measure): Measure {
  const raised = (x: number | null): number | null => (x === null ? null : Math.max(x, seen));
  const { value, low, high } = measure;
  if ([value, low, high].every((x) => raised(x) === x)) return measure;
  const method = `${measure.method}; raised to the ${seen} ways seen`;
  return { ...measure, value: raised(value), low: raised(low), high: raised(high), method };
}
