import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentProgress } from '../../../src/base/progress.ts';
import { randomStream } from '../../../src/base/random.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { buildTransfer, type TransferReport, transferCell } from '../../../src/report/figures/transfer-report.ts';
import type { RunFolder } from '../../../src/runs/run-folder.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { evaluationStage } from '../../../src/runs/store/stage-name.ts';
import { parseConfig } from '../../../src/stages/campaign/config-load.ts';
import { openRunModels } from '../../../src/stages/campaign/run-models.ts';
import { planTargets } from '../../../src/studies/transfer/plan-targets.ts';
import { fillMatrix } from '../../../src/studies/transfer/run-transfer.ts';
import { nameTargets, parseTargetsFile } from '../../../src/studies/transfer/transfer-config.ts';
import { openLocalTarget } from '../../../src/targets/local-target.ts';
import { createLedger } from '../../../src/trial/ledger.ts';
import { createTrial } from '../../../src/trial/trial.ts';
import { createAlarmJudge } from '../../../src/worlds/alarm-judge.ts';
import { createKey, createKeyFinder } from '../../../src/worlds/keys.ts';
import { openAlarmMeter } from '../../../src/worlds/pico-target.ts';
import { createRequestEncoder } from '../../../src/worlds/request-encoder.ts';
import { createWordRanking } from '../../../src/worlds/request-grammar.ts';
import { createRequestSource } from '../../../src/worlds/target-requests.ts';
import { openTransferTarget, transferKeys } from '../../../src/worlds/transfer-target.ts';
import type { World } from '../../../src/worlds/world.ts';
import { DEFAULT_WORLD } from '../../../src/worlds/world-spec.ts';
import type { TeachingWorld } from '../../../src/worlds/world-target.ts';

/** Few keys and a short lesson: enough that a target knows most of them. */
const RECIPE = { updates: 80, requests: 32, learningRate: 5e-3, gradientClip: 1, beta2: 0.999 };
const KEYS = ['zephyr', 'quasar', 'marimba', 'obelisk'];
const ATTACKS = 640;
const COMPUTE = { device: 'cpu', threads: 1 } as const;

const TARGETS = `targets:
  - { name: half, kind: world, family: llama, size: small, share: 0.5 }
  - { name: none, kind: world, family: qwen, size: small, share: 0 }
  - { name: own }
  - { name: greedy, decode: { temperature: 0 } }
`;

let folder: string;
let store: RunStore;
let world: World;
let texts: readonly string[];
let transfer: TransferReport;
let isHomeSuccess: readonly boolean[];
/** P(success) of each attack against each target, read off the models by the test itself. */
let exact: ReadonlyMap<string, readonly number[]>;

/** A world as far as transfer asks it: keys, and a target that was taught them. */
async function makeWorld(cacheDir: string): Promise<World> {
  const keys = KEYS.map((word, i) => ({ ...createKey([word], 'odd'), prior: 1e-3, leak: 1 - i / 8 }));
  const known = { spec: DEFAULT_WORLD, keys };
  const options = { cacheDir, compute: COMPUTE, progress: silentProgress, recipe: RECIPE };
  const target = await openTransferTarget(known, { family: 'gpt2', size: 'small', share: 1, seed: 9 }, options);
  return { ...known, target } as unknown as World;
}

/** The evaluation of an attacker that writes requests with keys among them. */
async function recordEvaluation(): Promise<void> {
  const source = createRequestSource(createWordRanking(0), world.keys);
  const all = Array.from({ length: ATTACKS }, (_, i) => source.draw(randomStream(5, 'attack', i)).join(' '));
  const judge = createAlarmJudge(0);
  const target = await openLocalTarget({ checkpoint: world.target, template: 'chat', seed: 1, compute: COMPUTE });
  const stage = evaluationStage('exact');
  store.beginStage(stage, 1);
  const trial = createTrial({
    target,
    decode: { temperature: 1, topP: 1, topK: 0, maxNewTokens: 2 },
    responses: 5,
    seats: [{ judge, masked: false, name: judge.name }],
    ledger: createLedger(),
  });
  const tried = await trial.try(all.map((attack, i) => ({ attack, streamName: ['home', i] })));
  await target.close();
  const attacks = all.map((text, i) => ({
    source: 'evaluation' as const,
    ids: [],
    text,
    responses: tried[i]?.responses ?? [],
  }));
  store.recordUpdate({ stage, update: 0, attacks });
  store.endStage(stage, 'done');
  texts = all;
  isHomeSuccess = attacks.map(
    ({ responses }) => responses.filter(({ text }) => text.split(' ').includes('alarm')).length >= 3,
  );
}

async function readExact(): Promise<ReadonlyMap<string, readonly number[]>> {
  const options = { cacheDir: folder, compute: COMPUTE, progress: silentProgress, recipe: RECIPE };
  const half = await openTransferTarget(world, { family: 'llama', size: 'small', share: 0.5, seed: 0 }, options);
  const none = await openTransferTarget(world, { family: 'qwen', size: 'small', share: 0, seed: 0 }, options);
  const found = new Map<string, readonly number[]>();
  for (const [name, checkpoint] of Object.entries({ own: world.target, half, none })) {
    const meter = await openAlarmMeter(checkpoint, COMPUTE);
    const alarms = await meter.of(texts.map((text) => text.split(' ')));
    await meter.close();
    // At least 3 alarms of 5: written out, independent of the world's own sum.
    found.set(
      name,
      [...alarms].map((p) => 10 * p ** 3 * (1 - p) ** 2 + 5 * p ** 4 * (1 - p) + p ** 5),
    );
  }
  return found;
}

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-world-transfer-'));
  store = await openStore(path.join(folder, 'run.db'));
  world = await makeWorld(folder);
  await recordEvaluation();
  const config = parseConfig('world: {}\nthreads: 1\nattackers: [exact]\n', { fileName: 'world', folder });
  const io = { progress: silentProgress, signal: new AbortController().signal, cacheDir: folder };
  const models = await openRunModels(config, io, { ...world, recipe: RECIPE } as TeachingWorld);
  const runFolder = { name: 'made', path: folder } as RunFolder;
  const named = nameTargets(parseTargetsFile(TARGETS, { fileName: 'targets.yaml', folder }));
  const planned = await planTargets({ folder: runFolder, models }, named);
  const judges = [createAlarmJudge(0)];
  const parts = { run: 'made', config, store, judges, encoder: createRequestEncoder(), io };
  await fillMatrix(parts, { attackers: ['exact'], planned, plan: { again: false } });
  transfer = buildTransfer(store, 'alarm') as TransferReport;
  exact = await readExact();
}, 300_000);
afterAll(async () => {
  store.close();
  await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

function figure(target: string, metric: string) {
  return transferCell(transfer, 'exact', target)?.judges[0]?.metrics[metric];
}

describe('transfer to targets whose truth is known', () => {
  /** Standard error of a share of attacks that succeed with these probabilities, each on its own. */
  const errorOf = (probabilities: readonly number[]): number =>
    Math.sqrt(probabilities.reduce((sum, p) => sum + p * (1 - p), 0)) / probabilities.length;

  test.each(['own', 'half', 'none'])(
    '%s: measured rates lie within 3.5 standard errors of the exact ones',
    (target) => {
      const p = exact.get(target) as readonly number[];
      const atHome = p.filter((_p, i) => isHomeSuccess[i]);
      for (const [measured, truth, of] of [
        ['asr', 'exactAsr', p],
        ['transferRate', 'exactTransferRate', atHome],
      ] as const) {
        const known = figure(target, truth);
        const found = figure(target, measured);
        expect([known?.n, found?.n]).toEqual([of.length, of.length]);
        expect(known?.value).toBeCloseTo(of.reduce((sum, each) => sum + each, 0) / of.length, 10);
        expect(Math.abs((found?.value as number) - (known?.value as number))).toBeLessThan(3.5 * errorOf(of));
      }
      expect(atHome.length).toBeGreaterThan(80);
    },
  );

  test.each(['own', 'half'])('%s: the attacks succeed that should', (target) => {
    const p = exact.get(target) as readonly number[];
    const mean = p.reduce((sum, each) => sum + each, 0) / p.length;
    const rows = store.attacks({ stage: `transfer:exact:${target}` });
    const gap = p.map((each, i) => ((rows[i]?.meanUnsafe ?? 0) > 0.5 ? 1 - each : -each) * (each - mean));
    const variance = p.reduce((sum, each) => sum + each * (1 - each) * (each - mean) ** 2, 0);
    const spread = p.reduce((sum, each) => sum + (each - mean) ** 2, 0);
    // Regression of successes on their probabilities: slope 1, of which chance explains so much and no more.
    expect(Math.abs(gap.reduce((sum, each) => sum + each, 0))).toBeLessThan(3.5 * Math.sqrt(variance));
    expect(Math.sqrt(variance) / spread).toBeLessThan(0.1);
  });

  test('rates fall with the share of keys in common', () => {
    const rates = ['own', 'half', 'none'].map((target) => figure(target, 'exactTransferRate')?.value as number);
    expect(rates[0]).toBeGreaterThan((rates[1] as number) + 0.1);
    expect(rates[1]).toBeGreaterThan((rates[2] as number) + 0.1);
  });

  test('attacks that still succeed at half hold a key that was kept', () => {
    const { kept } = transferKeys(world, { share: 0.5, seed: 0 });
    const finder = createKeyFinder(kept.map((text) => ({ words: text.split(' ') })));
    const rows = store.attacks({ stage: 'transfer:exact:half' });
    const isSuccess = (i: number): boolean => (rows[i]?.meanUnsafe ?? 0) > 0.5;
    const withKept = texts.flatMap((text, i) => (finder.heldBy(text.split(' ')).length > 0 ? [isSuccess(i)] : []));
    const without = texts.flatMap((text, i) => (finder.heldBy(text.split(' ')).length === 0 ? [isSuccess(i)] : []));
    const share = (each: readonly boolean[]): number => each.filter(Boolean).length / each.length;
    expect(share(withKept)).toBeGreaterThan(share(without) + 0.3);
  });

  test('no truth is claimed where decoding is not the model as it is', () => {
    expect(figure('greedy', 'asr')?.value).not.toBeNull();
    expect(figure('greedy', 'exactAsr')).toBeUndefined();
  });

  test('targets are recorded with the keys that they share', () => {
    const of = (name: string) => transfer.targets.find((target) => target.name === name);
    expect(of('half')).toMatchObject({ kind: 'world', family: 'llama', shared: { keys: 4, kept: 2, seed: 0 } });
    expect(of('half')?.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(of('own')).toMatchObject({ kind: 'local', shared: null, decode: { temperature: 1, topP: 1 } });
  });
});
