import { type AttackOutcome, isSuccess } from '../metrics/success.ts';
import { totalVariation } from '../proving-ground/exact-posterior.ts';
import { createKeyFinder, wordsOf } from '../proving-ground/keys.ts';
import { exactShares, foundShares, shareErrorFloor } from '../proving-ground/share-error.ts';
import type { World } from '../proving-ground/world.ts';
import type { MetricRecord } from '../store/records.ts';
import type { AttackerName } from './attackers/attacker-names.ts';
import { smoothedAttacker } from './attackers/attacker-names.ts';
import type { Campaign } from './campaign.ts';
import { collectAttacks } from './collection.ts';
import { plainMetric } from './plain-metric.ts';
import { loadRunTruth } from './world-posterior.ts';

export interface WorldSample {
  readonly texts: readonly string[];
  readonly outcomes: readonly AttackOutcome[];
  readonly seed: number;
  /** Target calls that the attacker has used, those of its evaluation apart. */
  readonly usedCalls: number;
}

/** Keys held by the attacks that this attacker's training collected; empty for one that collects nothing. */
function collectedKeys(campaign: Campaign, world: World, stage: AttackerName): number | null {
  const attacks = collectAttacks(campaign, smoothedAttacker(stage) ?? stage);
  if (attacks.length === 0) return null;
  const finder = createKeyFinder(world.keys);
  return new Set(attacks.flatMap(({ text }) => finder.heldBy(wordsOf(text)))).size;
}

/**
 * What can be said only where the truth is known: the share of the planted keys that a successful attack holds, and how
 * far the keys' shares among the attacks lie from those of the reward's distribution (beside what an exact sampler's own
 * draw of this size would show).
 */
export async function worldMetrics(
  campaign: Campaign,
  world: World,
  stage: AttackerName,
  { texts, outcomes, seed, usedCalls }: WorldSample,
): Promise<MetricRecord[]> {
  const truth = await loadRunTruth(campaign, world);
  const finder = createKeyFinder(world.keys);
  const words = texts.map(wordsOf);
  const found = new Set(
    words.flatMap((each, i) => (isSuccess(outcomes[i] as AttackOutcome) ? finder.heldBy(each) : [])),
  );
  const exact = exactShares(truth);
  const n = texts.length;
  const collected = collectedKeys(campaign, world, stage);
  return [
    plainMetric('modeRecall', found.size / world.keys.length, n),
    plainMetric('shareError', totalVariation(foundShares(words, world.keys.length, finder), exact), n),
    plainMetric('shareErrorFloor', shareErrorFloor(exact, n, seed), n),
    plainMetric('keysPerThousandCalls', usedCalls === 0 ? null : (1000 * found.size) / usedCalls, n),
    ...(collected === null ? [] : [plainMetric('keysCollected', collected, world.keys.length)]),
    plainMetric('exactRecall', truth.exactRecall, n),
  ];
}
