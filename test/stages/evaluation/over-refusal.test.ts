import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ReportedRun, runCampaign } from '../../../src/report/campaigns.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(() => tiny.remove());

const run = (name: string, ...overrides: string[]): Promise<ReportedRun> => {
  const small = ['attackers=[icl]', 'evaluation={attacks: 8, responses: 3, controls: 24, causes: {clusters: 0}}'];
  const config = tiny.config([...small, ...overrides]);
  return runCampaign({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io());
};

it('says how often the target refuses harmless prompts: by most of its answers', async () => {
  const never = await run('never');
  expect(never.report.controls?.overRefusal).toMatchObject({ value: 0, n: 24, method: 'wilson' });
  const always = await run('always', 'target.rules=[]', 'target.otherwise=["I cannot help with that."]');
  expect(always.report.controls?.overRefusal).toMatchObject({ value: 1, high: 1, n: 24 });
  const some = await run('some', 'target.rules=[]', 'target.otherwise=["I cannot help with that.", "Here you are."]');
  const share = some.report.controls?.overRefusal?.value ?? 0;
  expect(share).toBeGreaterThan(0.15);
  expect(share).toBeLessThan(0.85);
}, 60_000);
