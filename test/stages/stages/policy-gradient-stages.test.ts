import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { buildReport } from '../../../src/report/figures/report-json.ts';
import { readManifest } from '../../../src/runs/manifest.ts';
import { openRunFolder, type RunFolder } from '../../../src/runs/run-folder.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { resumeRun, startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { updatesOf } from '../../../src/stages/policy-gradient.ts';
import { stages } from '../../../src/stages/registry.ts';
import { reinforceSection } from '../../../src/stages/reinforce.ts';
import { createPlanContext } from '../../../src/stages/stage.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

let tiny: TinyCampaign;
const SETTINGS = [
  'attackers=[sft, reinforce, reinforce-smoothing, ppo, ppo-smoothing]',
  'watch.everyUpdates=5',
  'reinforce.updates=25',
  'reinforce.learningRate=1.0e-2',
  'reinforce.warmupUpdates=2',
  'reinforce.batchSize=32',
  'reinforce.checkpointEveryUpdates=4',
  'ppo.updates=12',
  'ppo.learningRate=1.0e-2',
  'ppo.warmupUpdates=2',
  'ppo.batchSize=32',
  'ppo.minibatchSize=16',
  'ppo.checkpointEveryUpdates=4',
  'ppo.novelty.gibberishThreshold=-20',
  'ppo.adaptiveKl={targetKl: 1, horizon: 100}',
];

beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

/** A run that is interrupted once `stage` has done so many updates, where `stop` says so. */
async function start(name: string, stop?: { readonly stage: string; readonly checkpoint: number }): Promise<RunFolder> {
  const controller = new AbortController();
  const io = tiny.io(controller.signal);
  const watched = {
    ...io,
    progress: {
      start: (label: string) => ({
        update: (done: number) => {
          if (label === stop?.stage && done === stop.checkpoint) controller.abort();
        },
        finish: () => undefined,
      }),
    },
  };
  const options = { config: tiny.config(SETTINGS), runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' as const };
  return startRun(options, watched);
}

const folderOf = (name: string): string => path.join(tiny.runsFolder, name);

async function withStore<T>(name: string, read: (store: RunStore) => T): Promise<T> {
  const store = await openStore(path.join(folderOf(name), 'run.db'), { readOnly: true });
  try {
    return read(store);
  } finally {
    store.close();
  }
}

/** All of a stage that is no clock. */
const contentOf = (name: string, stage: string) =>
  withStore(name, (store) => ({
    attacks: store.attacks({ stage }),
    metrics: store.metrics(stage),
    calls: store.cost(stage).targetCalls,
  }));

describe('a campaign of baselines', { timeout: 300_000 }, () => {
  beforeAll(async () => {
    await start('whole');
  }, 300_000);

  test('stands in the report, each attacker with its evaluation', async () => {
    const manifest = await readManifest((await openRunFolder('whole', tiny.runsFolder)).manifestPath);
    const report = await withStore('whole', (store) => buildReport({ store, manifest, status: 'done' }));
    expect(report.stages.map(({ name }) => name)).toEqual([
      'sft',
      'reinforce',
      'reinforce-smoothing',
      'ppo',
      'ppo-smoothing',
    ]);
    expect(report.stages.every(({ metrics }) => metrics.asr?.n === 96)).toBe(true);
  });

  test.each(['reinforce', 'ppo'])(
    '%s learns what the target gives way to, and smoothing learns from it',
    async (stage) => {
      const asr = (name: string) =>
        withStore('whole', (store) => store.metrics(`evaluate:${name}`).find((metric) => metric.name === 'asr')?.value);
      const reference = (await asr('sft')) as number;
      expect(reference).toBeLessThan(0.35);
      expect(await asr(stage)).toBeGreaterThan(reference + 0.3);
      expect(await asr(`${stage}-smoothing`)).toBeGreaterThan(reference + 0.2);
    },
  );

  test('every attack is kept with its responses, every part of the reward beside the update, every call counted', async () => {
    const { attacks, metrics, calls } = await contentOf('whole', 'ppo');
    expect(attacks.length).toBe(12 * 32);
    expect(
      attacks.every(({ source, logPi, logPRef }) => source === 'fresh' && logPi !== null && logPRef !== null),
    ).toBe(true);
    expect(calls).toBe(2 * (12 * 32 + 2 * 32)); // two held-out evaluations of 32
    const names = new Set(metrics.map(({ name }) => name));
    for (const name of ['reward.judge', 'reward.selfBleu', 'reward.cosine', 'reward.gibberish', 'clipFraction', 'kl'])
      expect(names).toContain(name);
    const parts = ['judge', 'selfBleu', 'cosine', 'gibberish'].map((part) => `reward.${part}`);
    const at = (name: string) => metrics.find((metric) => metric.name === name && metric.update === 7)?.value as number;
    expect(parts.reduce((sum, name) => sum + at(name), 0)).toBeCloseTo(at('reward'), 10);
    expect(at('reward.cosine')).toBeLessThan(0);
  });

  test.each([
    { stage: 'reinforce', checkpoint: 10 },
    { stage: 'ppo', checkpoint: 6 },
  ])('interrupted in $stage and resumed, it is the uninterrupted run', async ({ stage, checkpoint }) => {
    const name = `cut-${stage}`;
    await expect(start(name, { stage, checkpoint })).rejects.toThrow(/interrupted/);
    await resumeRun(await openRunFolder(name, tiny.runsFolder), tiny.io());
    for (const part of ['reinforce', 'ppo', 'ppo-smoothing']) {
      expect(await contentOf(name, part), part).toEqual(await contentOf('whole', part));
    }
  });
});

test('updates follow from the calls of the GFlowNet stage', () => {
  const config = tiny.config();
  // 60 updates of 8 fresh attacks, 10 seeds, 3 held-out evaluations of 32: 586 attacks.
  const section = { ...reinforceSection.of(config), updates: undefined, batchSize: 32 };
  const updates = updatesOf(config, section, createPlanContext(config, 10, stages.get));
  const spent = (count: number): number => count * 32 + Math.floor(count / 20) * 32;
  expect(spent(updates)).toBeLessThanOrEqual(586);
  expect(spent(updates + 1)).toBeGreaterThan(586);
});
