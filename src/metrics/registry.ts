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

/** `measureAttackSet`, which may pause between two metrics and inside the slow ones. */
export function* measureAttackSetInSteps(set: AttackSet, options: AttackSetOptions): Steps<AttackSetReport> {
  assertParallel(set);
  const { successes, excluded, unscoredResponses } = attackSuccess(set.outcomes);
  const clustered = successIndices(set.outcomes).slice(0, MAX_COMPARED);
  const { clusters } = yield* uniqueAttacksInSteps(set.embeddings, clustered, options.threshold);
  const measured: [string, Measure][] = [];
  for (const metric of attackMetrics.all()) {
    const steps = metric.steps?.(set, options);
    measured.push([metric.name, steps === undefined ? metric.measure(set, options) : yield* steps]);
    yield;
  }
  return {
    metrics: Object.fromEntries(measured) as AttackSetMetrics,
    successes,
    excluded,
    unscoredResponses,
    clusters: clusterSizes(clusters),
  };
}
