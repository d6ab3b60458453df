import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import type { LikelihoodExample, trainLikelihood } from '../../../src/learning/loops/likelihood.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

/** Examples of each stage that learned by likelihood, by its name. */
const learned = new Map<string, readonly LikelihoodExample[]>();

vi.mock('../../../src/learning/loops/likelihood.ts', async (importOriginal) => {
  const original = await importOriginal<{ trainLikelihood: typeof trainLikelihood }>();
  const watched: typeof trainLikelihood = (parts, options, run) => {
    learned.set(run.control.checkpoints.stage, parts.examples);
    return original.trainLikelihood(parts, options, run);
  };
  return { ...original, trainLikelihood: watched };
});

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

const BETA = 0.3;
const FLOOR = 0.05;
const SMALL = [
  'attackers=[smoothing]',
  'gflownet.updates=30',
  'watch.everyUpdates=0',
  'smoothing.updates=2',
  'smoothing.weights=reward',
  'evaluation.attacks=16',
  'evaluation.controls=0',
  `reward.unsafeFloor=${FLOOR}`,
  'target.rules=[{ contains: z, respond: [alarm bell, alarm bell, fine] }]', // scores differ too
];

/** Runs the campaign, and returns what it collected with the shares in which smoothing draws it. */
async function smooth(form: string) {
  const config = tiny.config([
    ...SMALL,
    `reward.fluency.form=${form}`,
    'reward.fluency.k=2',
    'reward.fluency.threshold=-4.5',
    'reward.fluency.penalty=-3',
  ]);
  const folder = await startRun({ config, runsFolder: tiny.runsFolder, name: form, ifTaken: 'refuse' }, tiny.io());
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const fluencyOf = new Map(store.attacks({ stage: 'gflownet' }).map(({ ids, fluency }) => [ids.join(), fluency]));
    const bounds = { judge: 'lexicon', unsafeFloor: FLOOR, minUnsafe: 0.4, minLogPRef: -100 };
    const found = store.distinctAttacks({ stage: 'gflownet', ...bounds });
    const examples = learned.get('smoothing') ?? [];
    expect(examples.map(({ row }) => row)).toEqual(found.map(({ ids }) => ids));
    return found.map(({ ids, logS, logPRef }, i) => ({
      factors: ids.length,
      logS,
      logPRef: logPRef as number,
      fluency: fluencyOf.get(ids.join()) as number,
      weight: examples[i]?.weight as number,
    }));
  } finally {
    store.close();
  }
}

type Collected = Awaited<ReturnType<typeof smooth>>[number];

/** The form's fluency, from what the database knows beside it. */
const FORMS: readonly [string, (attack: Collected) => readonly number[]][] = [
  ['sum', ({ logPRef }) => [logPRef]],
  ['mean', ({ logPRef, factors }) => [logPRef / factors]],
  ['min-k-gate', () => [0, -3]],
];

describe('smoothing weighted by the reward', () => {
  test.each(FORMS)('draws a collected attack by exp(log R) under fluency form %s', async (form, allowed) => {
    const collected = await smooth(form);
    expect(collected.length).toBeGreaterThan(5);
    for (const attack of collected) {
      const distances = allowed(attack).map((value) => Math.abs(value - attack.fluency));
      expect(Math.min(...distances)).toBeLessThan(1e-4);
    }
    expect(collected.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1, 9);
    // Largest share: 20 times the equal one. Below it, log shares differ as log rewards do.
    const free = collected.filter(({ weight }) => weight < (20 / collected.length) * (1 - 1e-9));
    expect(free.length).toBeGreaterThan(5);
    const [first] = free as [Collected];
    const logReward = ({ fluency, logS }: Collected): number => fluency + logS / BETA;
    for (const attack of free) {
      const apart = Math.log(attack.weight) - Math.log(first.weight);
      expect(apart).toBeCloseTo(logReward(attack) - logReward(first), 6);
    }
    const distinct = (values: readonly number[]): number => new Set(values.map((value) => value.toFixed(6))).size;
    expect(distinct(free.map(({ fluency }) => fluency))).toBeGreaterThan(1);
    expect(distinct(free.map(({ logS }) => logS))).toBeGreaterThan(1);
  });
});
