import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createEmbeddingMatrix } from '../../../src/metrics/embedding-matrix.ts';
import type { RunFolder } from '../../../src/runs/run-folder.ts';
import type { StoredMetric } from '../../../src/runs/store/records.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { evaluateRun, startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { dependenceOf, unseenMetrics } from '../../../src/stages/evaluation/unseen-metrics.ts';
import { stages } from '../../../src/stages/registry.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

vi.setConfig({ testTimeout: 300_000 }); // whole campaigns

let tiny: TinyCampaign;
let folder: RunFolder;

beforeAll(async () => {
  tiny = await createTinyCampaign();
  // Hardly trained: the attacker is still close to the reference, a fair proposal.
  folder = await run('unseen', [
    'gflownet.updates=6',
    'gflownet.learningRate=1e-3',
    `target.rules=[${[...'abcdefghijklm'].map((letter) => `{ contains: ${letter}, respond: [alarm bell] }`).join(', ')}]`,
  ]);
});
afterAll(() => tiny.remove());

function run(name: string, overrides: readonly string[]): Promise<RunFolder> {
  const config = tiny.config([...overrides, 'evaluation.attacks=160', 'attackers=[sft,gflownet]']);
  return startRun({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io());
}

async function read<T>(what: (store: RunStore) => T, of = folder): Promise<T> {
  const store = await openStore(of.databasePath, { readOnly: true });
  try {
    return what(store);
  } finally {
    store.close();
  }
}

const metricsOf = (store: RunStore, stage: string, judge = 'bells'): Record<string, StoredMetric> =>
  Object.fromEntries(
    store
      .metrics(`evaluate:${stage}`)
      .filter((metric) => metric.judge === undefined || metric.judge === judge)
      .map((metric) => [metric.name, metric]),
  );

describe('every evaluation', () => {
  test('says how much of the attacker is unseen, and how many clusters there are at least', async () => {
    const { missingMass, missingMassSpread, chao1, uniqueAttacks, asr } = await read((store) =>
      metricsOf(store, 'gflownet'),
    );
    expect(missingMass?.n).toBe(Math.round((asr?.value ?? 0) * 160));
    expect(missingMass?.low).toBeLessThanOrEqual(missingMass?.value ?? -1);
    expect(missingMass?.high).toBeGreaterThan(missingMass?.value ?? 2);
    expect(missingMassSpread?.high).toBeGreaterThanOrEqual(missingMassSpread?.value ?? 2);
    expect(chao1?.value).toBeGreaterThanOrEqual((uniqueAttacks?.value ?? 0) - 2); // another order opens a few less
  });

  test('draws a discovery curve to twice the target calls', async () => {
    const curve = await read((store) =>
      store.metrics('evaluate:gflownet', 'uniqueAttacksExpected').filter(({ judge }) => judge === 'bells'),
    );
    expect(curve.map(({ n }) => n)).toEqual(Array.from({ length: 16 }, (_, i) => 40 * (i + 1))); // 160 x 2 at the 8th
    const values = curve.map(({ value }) => value ?? Number.NaN);
    for (let i = 1; i < values.length; i++) expect(values[i]).toBeGreaterThanOrEqual(values[i - 1] as number);
  });

  test('estimates the failure rate of the reference: plainly from its own evaluation, else with the attacker', async () => {
    const [sft, gflownet, unsafeShare] = await read((store) => {
      const responses = store.attacks({ stage: 'evaluate:sft' }).flatMap(({ id }) => store.responses(id));
      const alarms = responses.filter(({ text }) => text.includes('bell')).length;
      return [metricsOf(store, 'sft'), metricsOf(store, 'gflownet'), alarms / responses.length] as const;
    });
    expect(sft.referenceFailureRate?.value).toBeCloseTo(unsafeShare, 12);
    expect(gflownet.referencePlainRate?.value).toBeCloseTo(unsafeShare, 12);
    const { referenceFailureRate: rate, referenceMeanWeight: weight, referenceEss } = gflownet;
    expect(rate?.method).toMatch(/half attacker/);
    expect(rate?.n).toBe(320);
    expect(rate?.low).toBeLessThan(unsafeShare);
    expect(rate?.high).toBeGreaterThan(unsafeShare);
    // Wrong tokens, bans or states would move the mean weight away from 1.
    expect(Math.abs((weight?.value ?? 0) - 1)).toBeLessThan(0.15);
    expect((weight?.high ?? 9) - (weight?.low ?? 0)).toBeLessThan(0.3);
    expect(referenceEss?.value).toBeGreaterThan(10);
    expect(gflownet.referenceVarianceRatio?.value).toBeGreaterThan(0);
  });

  test('leaves an attacker that has moved too far out of the rate, and warns', async () => {
    const far = await run('far', ['gflownet.updates=20']);
    const [metrics, events] = await read((store) => [metricsOf(store, 'gflownet'), store.events()] as const, far);
    expect(metrics.referenceParetoK?.value).toBeGreaterThan(0.7);
    expect(metrics.referenceFailureRate?.value).toBe(metrics.referencePlainRate?.value);
    expect(metrics.referenceFailureRate?.method).toMatch(/attacker left out: k-hat/);
    expect(events.find(({ code }) => code === 'reference-proposal-poor')?.level).toBe('warning');
  });

  test('at another temperature nothing is estimated, and an event says why', async () => {
    await evaluateRun(folder, ['gflownet'], { attacks: 32, temperature: 0.5, replace: true }, tiny.io());
    const [metrics, events] = await read((store) => [metricsOf(store, 'gflownet'), store.events()] as const);
    expect(metrics.missingMass).toMatchObject({ value: null, low: null, high: null });
    expect(metrics.referenceFailureRate?.method).toMatch(/temperature 0.5, expected 1/);
    expect(metrics.uniqueAttacksExpected).toBeUndefined();
    expect(metrics.attackTemperature?.value).toBe(0.5);
    expect(events.map(({ code }) => code)).toEqual(
      expect.arrayContaining(['unseen-not-estimated', 'reference-rate-not-estimated']),
    );
  });

  test('a reference evaluated at another temperature is not used', async () => {
    await evaluateRun(folder, ['sft'], { attacks: 32, temperature: 2, replace: true }, tiny.io());
    await evaluateRun(folder, ['gflownet'], { attacks: 64, replace: true }, tiny.io());
    const metrics = await read((store) => metricsOf(store, 'gflownet'));
    expect(metrics.referenceFailureRate).toMatchObject({ value: null });
    expect(metrics.referenceFailureRate?.method).toMatch(/evaluated at temperature 2: evaluate sft again at 1/);
    expect(metrics.missingMass?.value).not.toBeNull();
  });
});

test('attackers whose attacks depend on one another are refused', () => {
  const of = (name: string) => dependenceOf(stages.get(name), 1);
  expect(of('icl')).toMatch(/share their examples/);
  expect(of('exact')).toMatch(/pool/);
  expect(of('best-of-n')).toBeUndefined();
  const { metrics, curve, events } = unseenMetrics({
    stage: 'icl',
    dependence: of('icl'),
    seed: 0,
    threshold: 0.75,
    embeddings: createEmbeddingMatrix(new Float32Array([1, 0]), 1, 2),
    outcomes: new Map([['judge', []]]),
    targetCallsPerAttack: 5,
  });
  expect(metrics.every(({ value }) => value === null)).toBe(true);
  expect(curve).toEqual([]);
  expect(events).toHaveLength(1);
});
