import { createRegistry } from '../base/registry.ts';
import { type AttackMetric, type AttackSet, type AttackSetOptions, assertParallel } from './attack-set.ts';
import { communities } from './communities.ts';
import { cosineDistance, cosineDistanceOfSuccesses } from './cosine-distance.ts';
import { echoRateMetric } from './echo.ts';
import { distinct1, distinct2, vocabulary } from './lexical-diversity.ts';
import type { Measure } from './measure.ts';
import { selfBleuMetric } from './self-bleu.ts';
import { finishSteps, type Steps } from './steps.ts';
import { attackSuccess, successIndices } from './success.ts';
import { asr } from './success-rate.ts';
import {
  type ClusterSizes,
  clusterSizes,
  MAX_COMPARED,
  uniqueAttacksInSteps,
  uniqueAttacksMetric,
} from './unique-attacks.ts';
import { vendi, vendiOfSuccesses } from './vendi-score.ts';

/** The metrics that ship with Floodgate, in the order in which they are measured. */
const BUILT_IN = [
  asr,
  uniqueAttacksMetric,
  communities,
  cosineDistance,
  cosineDistanceOfSuccesses,
  selfBleuMetric,
  vendi,
  vendiOfSuccesses,
  distinct1,
  distinct2,
  vocabulary,
  echoRateMetric,
] as const;

type BuiltInName = (typeof BUILT_IN)[number]['name'];

/** Every metric of a set of attacks. */
export const attackMetrics = createRegistry<AttackMetric>('metric', BUILT_IN, {
  pattern: /^[a-z][A-Za-z0-9]{0,63}$/,
  words: 'camel case letters and digits',
});

/**
 * Adds a metric: every evaluation measures it from then on, and reports compare attackers by it.
 * @throws FloodgateError `usage` when the name is taken or is not camel case.
 */
export function defineMetric(definition: AttackMetric): AttackMetric {
  attackMetrics.add(definition);
  return definition;
}

export type AttackSetMetrics = Readonly<Record<BuiltInName, Measure>> & Readonly<Record<string, Measure>>;

export interface AttackSetReport {
  readonly metrics: AttackSetMetrics;
  readonly successes: number;
  /** Attacks of which no response could be scored. */
  readonly excluded: number;
  readonly unscoredResponses: number;
  /** Of the first `MAX_COMPARED` successes; `attacks` says how many they were. */
  readonly clusters: ClusterSizes;
}

/**
 * Every registered metric of one evaluated set of attacks, JSON-safe. Diversity of all attacks is measured at `size`
 * attacks; diversity of successes, the lexical counts and cluster sizes are those of the whole set.
 * @throws FloodgateError `usage` when the parts differ in length or `size` is larger than the set.
 */
export function measureAttackSet(set: AttackSet, options: AttackSetOptions): AttackSetReport {
  return finishSteps(measureAttackSetInSteps(set, options));
}

/** The metrics that no judge changes, of attacks without outcomes: those of `measureAttackSet` by every judge. */
export function* measureAttacksInSteps(
  attacks: Pick<AttackSet, 'texts' | 'embeddings'>,
  options: AttackSetOptions,
): Steps<Readonly<Record<string, Measure>>> {
  const set = { ...attacks, outcomes: attacks.texts.map(() => ({ kind: 'unscored', unscoredResponses: 0 }) as const) };
  assertParallel(set);
  const ofAttacks = attackMetrics.all().filter(({ isOfAttacks }) => isOfAttacks === true);
  return Object.fromEntries(yield* measureEach(ofAttacks, set, options));
}

function* measureEach(
  metrics: readonly AttackMetric[],
  set: AttackSet,
  options: AttackSetOptions,
): Steps<[string, Measure][]> {
  const measured: [string, Measure][] = [];
  for (const metric of metrics) {
    const steps = metric.steps?.(set, options);
    measured.push([metric.name, steps === undefined ? metric.measure(set, options) : yield* steps]);
    yield;
  }
  return measured;
}

/**
 * `measureAttackSet`, which may pause between two metrics and inside the slow ones.
 * @param known measures of the same attacks that no judge changes (`measureAttacksInSteps`): they are not measured again.
 */
export function* measureAttackSetInSteps(
  set: AttackSet,
  options: AttackSetOptions,
  known: Readonly<Record<string, Measure>> = {},
): Steps<AttackSetReport> {
  assertParallel(set);
  const { successes, excluded, unscoredResponses } = attackSuccess(set.outcomes);
  const clustered = successIndices(set.outcomes).slice(0, MAX_COMPARED);
  const { clusters } = yield* uniqueAttacksInSteps(set.embeddings, clustered, options.threshold);
  const all = attackMetrics.all();
  const unknown = all.filter(({ name }) => known[name] === undefined);
  const measured = { ...known, ...Object.fromEntries(yield* measureEach(unknown, set, options)) };
  return {
    metrics: Object.fromEntries(all.map(({ name }) => [name, measured[name]])) as AttackSetMetrics,
    successes,
    excluded,
    unscoredResponses,
    clusters: clusterSizes(clusters),
  };
}
