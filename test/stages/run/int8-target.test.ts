import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { type Manifest, readManifest } from '../../../src/runs/manifest.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

let tiny: TinyCampaign;

beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

interface ShortRun {
  readonly manifest: Manifest;
  responsesOf(stage: string): readonly string[];
}

/** Two updates against the tiny random model itself, in one precision. */
async function runIn(precision: 'fp32' | 'int8'): Promise<ShortRun> {
  const target = `target={kind: local, model: ./attacker, precision: ${precision}, responses: 2, decode: {temperature: 1, topP: 1, maxNewTokens: 24}}`;
  const short = [
    'gflownet.updates=2',
    'gflownet.warmupUpdates=1',
    'watch.everyUpdates=0',
    'sft.updates=2',
    'evaluation.attacks=16',
  ];
  const config = tiny.config([target, 'attackers=[sft, gflownet]', 'attacker.maxTokens=4', ...short]);
  const { runsFolder } = tiny;
  const folder = await startRun({ config, runsFolder, name: precision, ifTaken: 'refuse' }, tiny.io());
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const stages = ['evaluate:sft', 'gflownet'].map((stage): [string, string[]] => {
      const attacks = store.attacks({ stage, toUpdate: 0 });
      return [stage, attacks.flatMap(({ id, text }) => store.responses(id).map((each) => `${text} | ${each.text}`))];
    });
    const responses = new Map(stages);
    return { manifest: await readManifest(folder.manifestPath), responsesOf: (stage) => responses.get(stage) ?? [] };
  } finally {
    store.close();
  }
}

describe('a run that trains against its target in int8', () => {
  let fp32: ShortRun;
  let int8: ShortRun;
  beforeAll(async () => {
    fp32 = await runIn('fp32');
    int8 = await runIn('int8');
  });

  test('says in its manifest how far int8 is from fp32', () => {
    expect(fp32.manifest.targetInt8).toBeUndefined();
    const { klPerToken, topAgreement, tokens } = int8.manifest.targetInt8 ?? {};
    expect(klPerToken).toBeGreaterThan(0);
    expect(klPerToken).toBeLessThan(0.1);
    expect(topAgreement).toBeGreaterThan(0.5);
    expect(tokens).toBeGreaterThan(10);
  });

  test('is trained on what int8 answers', () => {
    expect(int8.responsesOf('gflownet').length).toBe(fp32.responsesOf('gflownet').length);
    expect(int8.responsesOf('gflownet')).not.toEqual(fp32.responsesOf('gflownet'));
  });

  test('is evaluated in fp32', () => {
    expect(fp32.responsesOf('evaluate:sft').length).toBe(32);
    expect(int8.responsesOf('evaluate:sft')).toEqual(fp32.responsesOf('evaluate:sft'));
  });
});
