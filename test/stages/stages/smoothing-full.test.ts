import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { openRunFolder, type RunFolder } from '../../../src/runs/run-folder.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { openCampaign } from '../../../src/stages/campaign/open-campaign.ts';
import { planRun } from '../../../src/stages/campaign/plan-run.ts';
import { resumeRun, startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { loadRunSeeds } from '../../../src/stages/campaign/run-world.ts';
import { sampleAttacks } from '../../../src/stages/campaign/sample-attacks.ts';
import { loadReference, openStageAttacker } from '../../../src/stages/checkpoints.ts';
import { stages, stagesToTrain } from '../../../src/stages/registry.ts';
import { type Campaign, createPlanContext } from '../../../src/stages/stage.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

const BASE = 'smoothing-base.safetensors';
const FULL = ['smoothing.method=full', 'smoothing.learningRate=2.0e-3', 'evaluation.attacks=64'];

let tiny: TinyCampaign;
let folder: RunFolder;

beforeAll(async () => {
  tiny = await createTinyCampaign();
  folder = await start('whole');
});
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

/** A run, interrupted once smoothing has done so many updates. */
async function start(name: string, stopAt?: number, settings: readonly string[] = FULL): Promise<RunFolder> {
  const controller = new AbortController();
  const progress = {
    start: (label: string) => ({
      update: (done: number) => {
        if (label === 'smoothing' && done === stopAt) controller.abort();
      },
      finish: () => undefined,
    }),
  };
  const options = { config: tiny.config(settings), runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' as const };
  return startRun(options, { ...tiny.io(controller.signal), progress });
}

async function withCampaign<T>(work: (campaign: Campaign) => Promise<T>): Promise<T> {
  const config = tiny.config(FULL);
  const store = await openStore(folder.databasePath);
  const seeds = await loadRunSeeds(config, undefined);
  const campaign = await openCampaign({ folder, config, store, seeds, world: undefined }, tiny.io());
  try {
    return await work(campaign);
  } finally {
    await campaign.close();
    store.close();
  }
}

const sum = (values: Float32Array): number => values.reduce((total, value) => total + value, 0);

const hash = (run: string, name: string): string =>
  createHash('sha256')
    .update(readFileSync(path.join(tiny.runsFolder, run, 'checkpoints', name)))
    .digest('hex');

describe('smoothing of every weight', () => {
  test('starts as the SFT attacker: the merged weights give its log-probs', async () => {
    await withCampaign(async (campaign) => {
      const { attacker } = campaign;
      const merged = await campaign.attackerOf('smoothing');
      expect(await campaign.attackerOf('ppo-smoothing')).toBe(merged);
      expect(await campaign.attackerOf('gflownet')).toBe(attacker);
      const parameters = merged.createParameters();
      await merged.initialise(parameters, 0);
      const reference = attacker.stateOf(await loadReference(campaign));
      const streams = Array.from({ length: 16 }, (_, i) => ({
        stream: randomStream(1, 'merged', i),
        temperature: 1,
      }));
      const attacks = await attacker.sample(reference, streams);
      const byAdapter = await attacker.score(reference, attacks);
      const byWeights = await merged.score(merged.stateOf(parameters), attacks);
      for (const [i, logProbs] of byWeights.entries()) {
        expect(Math.abs(sum(logProbs) - sum(byAdapter[i] as Float32Array))).toBeLessThan(1e-4);
      }
      // The adapter did something: without it the log-probs are others.
      const untrained = attacker.stateOf(attacker.createParameters());
      const plain = await attacker.score(untrained, attacks);
      expect(plain.some((logProbs, i) => Math.abs(sum(logProbs) - sum(byAdapter[i] as Float32Array)) > 1e-2)).toBe(
        true,
      );
    });
  });

  test('keeps what the GFlowNet found, is evaluated and joins the reference rate', async () => {
    const store = await openStore(folder.databasePath, { readOnly: true });
    try {
      const asr = (stage: string): number =>
        store.metrics(`evaluate:${stage}`, 'asr').find(({ judge }) => judge === 'bells')?.value ?? Number.NaN;
      expect(asr('smoothing')).toBeGreaterThan(asr('sft') + 0.3);
      expect(store.metrics('evaluate:smoothing', 'referenceParetoK').length).toBeGreaterThan(0);
    } finally {
      store.close();
    }
  });

  test('is what sample writes from', async () => {
    const plan = { stage: 'smoothing', count: 24, temperature: 1, seed: 3 } as const;
    const written = await sampleAttacks(folder, plan, tiny.io());
    await withCampaign(async (campaign) => {
      const { attacker, state } = await openStageAttacker(campaign, 'smoothing');
      expect(attacker.spec.trainable.kind).toBe('full');
      const requests = written.map((_, i) => ({ stream: randomStream(3, 'sample', i), temperature: 1 }));
      const texts = (await attacker.sample(state, requests)).map(({ text }) => text);
      expect(written.map(({ text }) => text)).toEqual(texts);
    });
    expect(written.filter(({ text }) => text.includes('z')).length).toBeGreaterThan(12);
  });

  test('interrupted and resumed, the merged base damaged between, it leaves the same bytes', async () => {
    await expect(start('stopped', 17)).rejects.toMatchObject({ code: 'interrupted' });
    const stopped = await openRunFolder('stopped', tiny.runsFolder);
    const base = path.join(stopped.checkpointsPath, BASE);
    writeFileSync(base, readFileSync(base).subarray(0, 1000));
    await resumeRun(stopped, tiny.io());
    for (const file of [BASE, 'smoothing-0000040.safetensors']) {
      expect(hash('stopped', file), file).toBe(hash('whole', file));
    }
  });

  test('a lost base is made again, the same', async () => {
    const before = hash('whole', BASE);
    rmSync(path.join(folder.checkpointsPath, BASE));
    await withCampaign((campaign) => campaign.attackerOf('smoothing'));
    expect(hash('whole', BASE)).toBe(before);
  });

  test('the plan counts parameters, gradient, moments, checkpoint, and the logits of a head that is whole', async () => {
    const adapter = await planRun(tiny.config(), tiny.io());
    const { attackers, attacker } = tiny.config();
    const context = createPlanContext(tiny.config(), 8, stages.get);
    const passes = stagesToTrain(attackers).map((stage) => stage.plan?.(tiny.config(), context).passRows ?? 0);
    const full = await planRun(tiny.config(FULL), tiny.io());
    await withCampaign(async (campaign) => {
      const values = (await campaign.attackerOf('smoothing')).createParameters().data.length;
      const adapterValues = campaign.attacker.createParameters().data.length;
      const { vocabSize } = campaign.attacker.spec.config;
      // An adapter's step holds three matrices of a quarter of the rows.
      const logits = (3 - 3 / 4) * 4 * attacker.maxTokens * Math.max(...passes) * vocabSize;
      expect(logits).toBeGreaterThan(0);
      expect(full.memoryBytes - adapter.memoryBytes).toBeCloseTo(28 * (values - adapterValues) + logits, 3);
    });
    const seconds = ({ stages }: typeof full): number =>
      stages.find(({ name }) => name === 'smoothing')?.seconds ?? Number.NaN;
    expect(seconds(full) / full.seconds).toBeGreaterThan(seconds(adapter) / adapter.seconds);
  });
});

test('a linear decay makes the last step of two half as large', async () => {
  const lossesOf = async (run: RunFolder): Promise<(number | null)[]> => {
    const store = await openStore(run.databasePath, { readOnly: true });
    try {
      return store.metrics('smoothing', 'loss').map(({ value }) => value);
    } finally {
      store.close();
    }
  };
  const settings = [
    'attackers=[smoothing]',
    'smoothing.updates=2',
    'smoothing.warmupUpdates=0',
    'evaluation.attacks=8',
  ];
  const constant = await start('constant', undefined, settings);
  const linear = await start('linear', undefined, [...settings, 'smoothing.decay=linear']);
  expect((await lossesOf(linear)).length).toBe(2);
  expect(await lossesOf(linear)).toEqual(await lossesOf(constant)); // both made the first step at the full rate
  const checkpoint = 'smoothing-0000002.safetensors';
  expect(hash('linear', checkpoint)).not.toBe(hash('constant', checkpoint));
});
