import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resumeCampaign, runCampaign } from '../../src/report/campaigns.ts';
import { openRunFolder, type RunFolder, runStatus } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
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

describe('the hours of a budget', () => {
  /** Training that makes no call, in the middle of which the time is up. */
  const LONG = [...SHORT, 'sft={updates: 400, batchSize: 8, warmupUpdates: 0}'];
  const start = (name: string, hours: number) => {
    const config = tiny.config(hours === 0 ? LONG : [...LONG, `budget={hours: ${hours}}`]);
    return runCampaign({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io());
  };
  const sftOf = async (folder: RunFolder) => {
    const store = await openStore(folder.databasePath, { readOnly: true });
    try {
      const [stage] = store.stages();
      return { status: await runStatus(folder, store), done: store.lastUpdate('sft') + 1, of: stage?.updatesPlanned };
    } finally {
      store.close();
    }
  };

  it('end a stage that asks nothing between two of its updates, which a higher cap continues to the same end', async () => {
    const began = performance.now();
    const { folder: whole } = await start('whole-hours', 0);
    const seconds = (performance.now() - began) / 1000;
    await expect(start('by-hours', seconds / 6 / 3600)).rejects.toMatchObject({
      name: 'BudgetSpent',
      code: 'interrupted',
      message: expect.stringMatching(
        /^the budget is spent: \S+ of \S+ hours; every answer is kept; the rest of the run/,
      ),
    });
    const folder = await openRunFolder('by-hours', tiny.runsFolder);
    const stopped = await sftOf(folder);
    expect(stopped).toMatchObject({ status: 'interrupted', of: 400 });
    expect(stopped.done).toBeLessThan(400);
    await expect(resumeCampaign(folder, tiny.io()), 'no time is left').rejects.toMatchObject({ name: 'BudgetSpent' });
    expect(await sftOf(folder)).toEqual(stopped);
    await resumeCampaign(folder, { ...tiny.io(), budget: { hours: 1 } });
    // Where a stop falls among the last checkpoints, its own is one of them: the final one counts.
    const contentOf = ({ path }: RunFolder) => {
      const { checkpoints, ...rest } = readRunContent(path);
      return { ...rest, checkpoints: Object.fromEntries(Object.entries(checkpoints).slice(-1)) };
    };
    expect(Object.keys(contentOf(whole).checkpoints)).toEqual(['sft-0000400.safetensors']);
    expect(contentDifferences(contentOf(whole), contentOf(folder))).toEqual([]);
    await resumeCampaign(folder, tiny.io()); // a finished run has nothing left to spend time on
  }, 60_000);
});

describe('--budget', () => {
  it('takes caps by their names, and refuses others', () => {
    expect(parseBudget(['targetCalls=2000', 'hours=1.5'])).toEqual({ targetCalls: 2000, hours: 1.5 });
    for (const word of ['calls=3', 'targetCalls', 'targetCalls=0', 'targetCalls=1.5', 'money=-1', 'hours=soon'])
      expect(() => parseBudget([word])).toThrow(`--budget: got ${word}, expected CAP=NUMBER`);
  });
});
