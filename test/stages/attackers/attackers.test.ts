import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildReport, type Report } from '../../../src/report/figures/report-json.ts';
import { readManifest } from '../../../src/runs/manifest.ts';
import type { StoredAttack } from '../../../src/runs/store/records.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { bestOfNCount } from '../../../src/stages/best-of-n.ts';
import { planRun, type RunPlan } from '../../../src/stages/campaign/plan-run.ts';
import { startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { stages, stagesToTrain } from '../../../src/stages/registry.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

const COMPARED = ['icl', 'sft', 'gflownet', 'smoothing-reward', 'stable-gfn', 'reinforce', 'best-of-n'] as const;

const SHORT = [
  `attackers=[${COMPARED.join(', ')}]`,
  'gflownet.updates=20',
  'watch.everyUpdates=10',
  'reinforce.updates=8',
  'reinforce.batchSize=16',
  'reinforce.warmupUpdates=1',
  'smoothing.rescore=true',
  'smoothing.updates=10',
  'icl.examples=2',
];

describe('attackers side by side', () => {
  let tiny: TinyCampaign;
  let report: Report;
  let plan: RunPlan;
  let written: StoredAttack[];

  beforeAll(async () => {
    tiny = await createTinyCampaign();
    const config = tiny.config(SHORT);
    plan = await planRun(config, tiny.io());
    const run = await startRun({ config, runsFolder: tiny.runsFolder, name: 'all', ifTaken: 'refuse' }, tiny.io());
    const store = await openStore(run.databasePath, { readOnly: true });
    report = buildReport({ store, manifest: await readManifest(run.manifestPath), status: 'done' });
    written = store.attacks({ stage: 'evaluate:icl' });
    store.close();
  }, 300_000);
  afterAll(() => tiny.remove());

  it('are all measured, those that learn nothing too', () => {
    expect(report.stages.map(({ name }) => name).sort()).toEqual([...COMPARED].sort());
    for (const { name, metrics } of report.stages) expect(metrics.asr?.n, name).toBe(96);
  });

  it('cost what the plan said: exactly where it can be known, at most where it depends on what is found', () => {
    const planned = (stage: string) => plan.stages.find(({ name }) => name === stage);
    for (const { name, cost, evaluationCost } of report.stages) {
      const training = planned(name)?.targetCalls ?? 0;
      const evaluation = planned(`evaluate:${name}`)?.targetCalls ?? 0;
      if (name === 'smoothing-reward') {
        expect(cost.targetCalls).toBeGreaterThan(0);
        expect(cost.targetCalls).toBeLessThanOrEqual(training);
      } else expect(cost.targetCalls, name).toBe(training);
      expect(evaluationCost.targetCalls, name).toBe(evaluation);
    }
  });

  it('best-of-n spends the budget of what it is compared with, and beats the reference that it draws from', () => {
    const asr = (stage: string) => report.stages.find(({ name }) => name === stage)?.metrics.asr?.value as number;
    expect(asr('best-of-n')).toBeGreaterThan(asr('sft'));
    expect(bestOfNCount(1000, 10, 5)).toBe(20);
    expect(bestOfNCount(0, 10, 5)).toBe(1);
  });

  it('icl writes attacks within the limits, not the same one over and over', () => {
    expect(written).toHaveLength(96);
    for (const { ids } of written) expect(ids.length).toBeLessThanOrEqual(7); // 6 tokens and the end
    expect(new Set(written.map(({ text }) => text)).size).toBeGreaterThan(48);
  });

  it('icl says so when the context holds no example', async () => {
    const config = tiny.config([...SHORT, 'attackers=[icl]', `attacker.metaPrompt=${'say '.repeat(13)}now`]);
    const run = startRun({ config, runsFolder: tiny.runsFolder, name: 'full', ifTaken: 'refuse' }, tiny.io());
    await expect(run).rejects.toThrow(/holds no example/);
  });

  it('exact is refused outside a made world, icl inside one', () => {
    expect(() => tiny.config(['attackers=[exact]'])).toThrow(/synthetic world only/);
    expect(() => tiny.config(['attackers=[icl]', 'world={}'])).toThrow(/untrained/);
  });

  it('brings what an attacker needs, in the order of training', () => {
    const trained = (wanted: readonly string[]) => stagesToTrain(wanted).map(({ name }) => name);
    expect(trained(['ppo-smoothing'])).toEqual(['sft', 'ppo', 'ppo-smoothing']);
    expect(trained([...stages.names()].reverse())).toEqual(stages.names());
  });
});
