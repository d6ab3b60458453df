import { randomStream } from '../../base/random.ts';
import type { Measure } from '../../metrics/measure.ts';
import { finishPausing, oneStep, type Steps } from '../../metrics/steps.ts';
import { measureAtSizeInSteps } from '../../metrics/subsampling.ts';
import { type AttackOutcome, isSuccess } from '../../metrics/success.ts';
import type { MetricRecord } from '../../runs/store/records.ts';
import { exactShares, heldShares, shareErrorFloor, totalVariation } from '../../worlds/exact-sampler.ts';
import { type KnownWorld, waysHeldBy } from '../../worlds/world-registry.ts';
import type { WorldTruth } from '../../worlds/world-truth.ts';
import { collectAttacks } from '../collection.ts';
import { measuredMetric, plainMetric } from '../metric-records.ts';
import { collectSection } from '../smoothing.ts';
import type { Campaign } from '../stage.ts';
import { loadRunTruth } from '../world-posterior.ts';

export interface WorldSample {
  readonly texts: readonly string[];
  readonly outcomes: readonly AttackOutcome[];
  readonly seed: number;
  /** Target calls that the attacker has used, without those of its evaluation. */
  readonly usedCalls: number;
}

/** Keys held by the attacks that this attacker's training collected; empty for one that collects nothing. */
async function collectedKeys(campaign: Campaign, world: KnownWorld, stage: string): Promise<number | null> {
  const source = campaign.stage(stage).smooths ?? stage;
  const attacks = collectAttacks(campaign, source, collectSection.of(campaign.config));
  if (attacks.length === 0) return null;
  const texts = attacks.map(({ text }) => text);
  return new Set((await waysHeldBy(world, texts, campaign.io.signal)).flat()).size;
}

/**
 * Share of the planted keys that some successful attack holds; its interval is over subsets of the attacks, as that of
 * unique attacks is. `held` has the keys of each attack.
 */
function modeRecall(
  held: readonly (readonly number[])[],
  outcomes: readonly AttackOutcome[],
  { keys, seed }: { readonly keys: number; readonly seed: number },
): Steps<Measure> {
  const found = held.map((each, i) => (isSuccess(outcomes[i] as AttackOutcome) ? each : []));
  const options = { size: held.length, stream: randomStream(seed, 'mode recall'), bounds: [0, 1] } as const;
  return measureAtSizeInSteps(held.length, options, (chosen) =>
    oneStep(() => new Set(chosen.flatMap((index) => found[index] as readonly number[])).size / keys),
  );
}

/** How far the keys' shares among the attacks are from the exact ones, beside an exact draw of this size. */
function shareMetrics(
  truth: WorldTruth,
  held: readonly (readonly number[])[],
  { keys, seed }: { readonly keys: number; readonly seed: number },
): MetricRecord[] {
  const exact = exactShares(truth);
  const n = held.length;
  return [
    plainMetric('shareError', totalVariation(heldShares(held, keys), exact), n),
    plainMetric('shareErrorFloor', shareErrorFloor(exact, n, seed), n),
  ];
}

/**
 * Metrics that need the known truth. One is the share of the planted keys that a successful attack holds. The other is
 * the distance of the keys' shares among the attacks from those of the reward's distribution, beside the distance that
 * an exact sampler's own draw of this size would show.
 */
export async function worldMetrics(
  campaign: Campaign,
  world: KnownWorld,
  stage: string,
  { texts, outcomes, seed, usedCalls }: WorldSample,
): Promise<MetricRecord[]> {
  const truth = await loadRunTruth(campaign, world);
  const keys = world.keys.length;
  const pausing = <T>(steps: Steps<T>): Promise<T> => finishPausing(steps, campaign.io.signal, `measure ${stage}`);
  const held = await waysHeldBy(world, texts, campaign.io.signal);
  const recall = await pausing(modeRecall(held, outcomes, { keys, seed }));
  const found = (recall.value ?? 0) * keys;
  const n = texts.length;
  const collected = await collectedKeys(campaign, world, stage);
  return [
    measuredMetric('modeRecall', recall),
    ...(truth === undefined ? [] : shareMetrics(truth, held, { keys, seed })),
    plainMetric('keysPerThousandCalls', usedCalls === 0 ? null : (1000 * found) / usedCalls, n),
    ...(collected === null ? [] : [plainMetric('keysCollected', collected, keys)]),
    ...(truth === undefined ? [] : [plainMetric('exactRecall', truth.exactRecall, n)]),
    ...(truth?.effective === undefined ? [] : [plainMetric('exactEffective', truth.effective, n)]),
  ];
}
