import { readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(() => tiny.remove());

test('a replay buffer that no checkpoint could hold is refused before anything is trained', async () => {
  const { runsFolder } = tiny;
  const config = tiny.config(['attackers=[gflownet]', 'gflownet.replay.capacity=1000000']);
  await expect(startRun({ config, runsFolder, name: 'huge', ifTaken: 'refuse' }, tiny.io())).rejects.toMatchObject({
    code: 'config',
    message: expect.stringContaining('gflownet.replay.capacity'),
    hint: expect.stringMatching(/set gflownet.replay.capacity to at most \d+/),
  });
  expect(readdirSync(path.join(runsFolder, 'huge', 'checkpoints'))).toEqual([]);
});
