import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resumeCampaign, runCampaign } from '../../src/report/campaigns.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { parseBudget } from '../../src/trial/budget.ts';
import { contentDifferences, readRunContent } from '../stages/run-content.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(() => tiny.remove());

const SHORT = [
  'attackers=[sft]',
  'sft={updates: 2, batchSize: 8, warmupUpdates: 0}',
  'evaluation={attacks: 40, responses: 2, controls: 0, causes: {clusters: 0}}',
];

describe('the budget of a run on this machine', () => {
  const run = (name: string, more: readonly string[]) =>
    runCampaign(
      { config: tiny.config([...SHORT, ...more]), runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' },
      tiny.io(),
    );

  it('stops it as an interruption does, and a higher one continues it to the same end', async () => {
    const { folder: whole } = await run('whole', []);
    expect(existsSync(join(whole.path, 'calls.db'))).toBe(false);
    await expect(run('capped', ['budget={targetCalls: 70}'])).rejects.toMatchObject({
      code: 'interrupted',
      // 32 attacks of the first batch are asked; the 8 of the second would exceed the cap.
      message: expect.stringMatching(/^the budget is spent: 64 of 70 target calls, and the next call may take 16;/),
    });
    const folder = await openRunFolder('capped', tiny.runsFolder);
    const { report } = await resumeCampaign(folder, { ...tiny.io(), budget: { targetCalls: 10_000 } });
    expect(report.run.status).toBe('done');
    expect(contentDifferences(readRunContent(whole.path), readRunContent(folder.path))).toEqual([]);
  });

  it('counts judge calls, tokens and hours too', async () => {
    const caps = ['judgeCalls: 40', 'tokens: 500', 'hours: 0.0000001'];
    for (const [i, cap] of caps.entries())
      await expect(run(`by-${i}`, [`budget={${cap}}`])).rejects.toMatchObject({
        code: 'interrupted',
        message: expect.stringContaining(`${['judge calls', 'tokens', 'hours'][i]}`) as string,
      });
  });
});

describe('--budget', () => {
  it('takes caps by their names, and refuses others', () => {
    expect(parseBudget(['targetCalls=2000', 'hours=1.5'])).toEqual({ targetCalls: 2000, hours: 1.5 });
    for (const word of ['calls=3', 'targetCalls', 'targetCalls=0', 'targetCalls=1.5', 'money=-1', 'hours=soon'])
      expect(() => parseBudget([word])).toThrow(`--budget: got ${word}, expected CAP=NUMBER`);
  });
});
