import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { createFaultCampaign, type FaultCampaign } from './fault-campaign.ts';
import { type Fault, runWithFaults } from './fault-run.ts';
import { searchDifferences } from './search-differences.ts';

let campaign: FaultCampaign;

/** Short, and nearly all of it searches. */
const SHORT = [
  'attackers=[sft,gflownet]',
  'gflownet.updates=32',
  'gflownet.pipeline.depth=3',
  'watch.everyUpdates=0',
  'evaluation={attacks: 8, responses: 1, controls: 0, causes: {clusters: 0}}',
];
const SEARCHED = 'gflownet.pipeline.searches=workers';
const FAULTY: readonly Fault[] = [
  ...(['worker killed', 'Redis killed', 'learner killed', 'network cut', 'learner stopped', 'worker stopped'] as const),
];

beforeAll(async () => {
  campaign = await createFaultCampaign(SHORT);
});
afterAll(() => campaign?.remove());

const paidOf = (name: string): number => campaign.callsOf(name).paid;

const options = (name: string, faults: readonly Fault[]) => ({
  name,
  faults,
  callsBetween: 40,
  delayMs: 15,
  cutMs: () => 1500,
  workers: 2,
  stream: randomStream(1, name),
});

const placeWith = (...overrides: readonly string[]) => ({
  ...campaign.whole.place,
  overrides: [...campaign.whole.place.overrides, ...overrides],
});

describe('a run whose workers search', { timeout: 300_000 }, () => {
  it('ends with the rows of one process after workers, Redis, the network and the learner have failed', async () => {
    const { met, calls } = await runWithFaults(placeWith(SEARCHED), options('faulty', FAULTY));
    expect(met).toEqual(FAULTY);
    expect(searchDifferences(campaign.whole, 'faulty')).toEqual([]);
    // An answer that was drawn twice was counted once.
    expect(paidOf('faulty')).toBe(paidOf('whole'));
    expect(calls).toBeGreaterThanOrEqual(paidOf('whole'));
  });

  it('asks nothing again after the learner was killed or stopped, however much of its work is lost', async () => {
    const place = placeWith(SEARCHED, 'gflownet.checkpointEveryUpdates=32');
    const { met, calls } = await runWithFaults(place, {
      ...options('killed', ['learner killed', 'learner stopped', 'learner killed', 'learner stopped']),
      callsBetween: 50,
      lockSeconds: 60, // no worker is taken for a dead one, however busy this machine is
    });
    expect(met).toHaveLength(4);
    expect(paidOf('killed')).toBe(paidOf('whole'));
    expect(calls).toBe(paidOf('killed'));
  });

  it('takes batches as they arrive, none older than maxLag, and goes on after it was killed', async () => {
    const place = placeWith(SEARCHED, 'gflownet.pipeline.order=arrival', 'gflownet.pipeline.maxLag=5');
    const { met } = await runWithFaults(place, options('arrival', ['worker killed', 'learner killed']));
    expect(met).toHaveLength(2);
    const store = await openStore(path.join(campaign.whole.pathOf('arrival'), 'run.db'), { readOnly: true });
    const lags = store.metrics('gflownet', 'searchLag').map(({ value }) => value as number);
    const fresh = Array.from({ length: 32 }, (_, update) =>
      store
        .attacks({ stage: 'gflownet', fromUpdate: update, toUpdate: update })
        .filter(({ source }) => source !== 'replay'),
    );
    store.close();
    expect(lags.length).toBeGreaterThan(16);
    expect(Math.max(...lags)).toBeLessThanOrEqual(5);
    expect(Math.max(...lags)).toBeGreaterThanOrEqual(3);
    // Every batch taught once: half of 16 rows each.
    expect(fresh.flat()).toHaveLength(32 * 8);
  });
});
