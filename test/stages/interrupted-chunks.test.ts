import { existsSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { resumeCampaign, runCampaign } from '../../src/report/campaigns.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { contentDifferences, readRunContent } from './run-content.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(() => tiny.remove());

const OVERRIDES = [
  'attackers=[smoothing]',
  'sft.updates=2',
  'sft.warmupUpdates=0',
  'gflownet.updates=40',
  'gflownet.replay.seedWithReference=150', // with the seeds, three chunks
  'collect.minUnsafe=0.1',
  'smoothing.rescore=true',
  'smoothing.updates=3',
  'smoothing.warmupUpdates=0',
  'watch.everyUpdates=0',
  'evaluation={attacks: 4, responses: 1, controls: 0, causes: { clusters: 0 }}',
];

/** Presses Ctrl-C as soon as the work `label` reports its first chunk. */
function stoppedIn(label: string): CampaignIo {
  const stop = new AbortController();
  const started = (work: string) => ({
    update: (done: number) => (work === label && done > 0 ? stop.abort() : undefined),
    finish: () => undefined,
  });
  return { ...tiny.io(stop.signal), progress: { start: started } };
}

async function seedRows(databasePath: string) {
  const store = await openStore(databasePath, { readOnly: true });
  try {
    const rows = store.attacks({ stage: 'gflownet', fromUpdate: -1, toUpdate: -1 });
    return { positions: rows.map(({ position }) => position), repeated: store.repeatedCalls() };
  } finally {
    store.close();
  }
}

test('Ctrl-C while seeds are tried, or a collection is scored again, loses no chunk; resumed, the run is the same', async () => {
  const start = (name: string, io: CampaignIo) =>
    runCampaign({ config: tiny.config(OVERRIDES), runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, io);
  const { folder: whole } = await start('whole', tiny.io());
  await expect(start('stopped', stoppedIn('try the seeds'))).rejects.toMatchObject({
    code: 'interrupted',
    message: expect.stringMatching(/try the seeds: interrupted, 64 of 1\d\d are kept/),
  });
  const folder = await openRunFolder('stopped', tiny.runsFolder);
  expect(await seedRows(folder.databasePath)).toEqual({
    positions: Array.from({ length: 64 }, (_, i) => i),
    repeated: [],
  });

  await expect(resumeCampaign(folder, stoppedIn('re-score the collection'))).rejects.toMatchObject({
    code: 'interrupted',
    message: expect.stringMatching(/re-score gflownet: interrupted, 64 of \d+ attacks are kept/),
  });
  const log = path.join(folder.checkpointsPath, 'collection.jsonl');
  await appendFile(log, '{"kept":[{"ids"'); // as a kill may leave it
  await resumeCampaign(folder, tiny.io());
  expect(existsSync(log)).toBe(false);
  expect((await seedRows(folder.databasePath)).repeated).toEqual([]);
  expect(contentDifferences(readRunContent(whole.path), readRunContent(folder.path))).toEqual([]);
  expect(liveSessionLabels()).toEqual([]);
});
