import { afterAll, beforeAll, expect, test } from 'vitest';
import { monotonicMs } from '../../src/base/clock.ts';
import { pointMeasure } from '../../src/metrics/measure.ts';
import { defineMetric } from '../../src/metrics/registry.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { resumeRun, startRun } from '../../src/stages/campaign/run-campaign.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(() => tiny.remove());

let stop = new AbortController();

/** A slow metric. Ctrl-C comes while it is computed, so the event loop must turn to hear it. */
defineMetric({
  name: 'slow',
  words: { label: 'Slow', explain: 'Takes a third of a second.' },
  measure: () => {
    setImmediate(() => stop.abort());
    const until = monotonicMs() + 300;
    while (monotonicMs() < until);
    return pointMeasure(1, 1, 'slow');
  },
});

test('Ctrl-C is heard while metrics are computed; resumed, only they are computed again', async () => {
  const config = tiny.config([
    'attackers=[sft]',
    'sft.updates=2',
    'sft.warmupUpdates=0',
    'evaluation={attacks: 8, responses: 1, controls: 0, causes: { clusters: 0 }}',
  ]);
  const run = startRun({ config, runsFolder: tiny.runsFolder, name: 'slow', ifTaken: 'refuse' }, tiny.io(stop.signal));
  await expect(run).rejects.toMatchObject({ code: 'interrupted', message: expect.stringContaining('measure sft') });
  const folder = await openRunFolder('slow', tiny.runsFolder);
  stop = new AbortController();
  await resumeRun(folder, tiny.io());
  const store = await openStore(folder.databasePath);
  expect(store.metrics('evaluate:sft', 'slow').length).toBeGreaterThan(0);
  expect(store.attacks({ stage: 'evaluate:sft' })).toHaveLength(8);
  expect(store.repeatedCalls()).toEqual([]);
  store.close();
});
