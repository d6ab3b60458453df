import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentProgress } from '../../../src/base/progress.ts';
import { describeLanguageWorld } from '../../../src/cli/language-world-text.ts';
import { buildReport, type Report } from '../../../src/report/figures/report-json.ts';
import { readManifest } from '../../../src/runs/manifest.ts';
import type { RunFolder } from '../../../src/runs/run-folder.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { parseConfig } from '../../../src/stages/campaign/config-load.ts';
import { startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { openRunWorld } from '../../../src/stages/campaign/run-world.ts';
import type { CampaignIo } from '../../../src/stages/stage.ts';
import {
  type LanguageMeasurePlan,
  type MeasuredReference,
  measureLanguage,
} from '../../../src/worlds/language/language-measure.ts';
import type { LanguageWorld } from '../../../src/worlds/language/language-world.ts';
import { languageWorldOf } from '../../../src/worlds/world-registry.ts';
import { testPath } from '../../support/golden-file.ts';

/** A random attacker and a random encoder: that everything is joined and measured, not how well it learns. */
const CONFIG = `
seed: 5
threads: 1
world:
  kind: language
  seed: 5
  regions: 4
  baseRate: 0.2
  samples: 1536
  attacker: ./attacker
  encoder: ./encoder
attackers: [sft, gflownet, smoothing, exact]
gflownet: { updates: 12, checkpointEveryUpdates: 6 }
smoothing: { updates: 6 }
evaluation: { attacks: 96, causes: { clusters: 4 } }
`;

describe('a run in a language world', () => {
  let folder: string;
  let io: CampaignIo;
  let run: RunFolder;
  let report: Report;
  let world: LanguageWorld;
  const config = (overrides: readonly string[] = []) =>
    parseConfig(CONFIG, { fileName: 'language.yaml', folder, overrides });
  const ioAt = (cache: string, signal = new AbortController().signal): CampaignIo => ({
    progress: silentProgress,
    signal,
    cacheDir: path.join(folder, cache),
  });
  const open = async (at: CampaignIo, overrides: readonly string[] = []): Promise<LanguageWorld> => {
    const opened = languageWorldOf(await openRunWorld(config(overrides), at));
    if (opened === undefined) throw new Error('it is no language world');
    return opened;
  };

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'floodgate-language-'));
    await cp(testPath('fixtures', 'models', 'smollm2'), path.join(folder, 'attacker'), { recursive: true });
    await cp(testPath('fixtures', 'models', 'bert-encoder'), path.join(folder, 'encoder'), { recursive: true });
    // Its tokenizer spells the prompt in more tokens than its own 64 positions; rotary embeddings have no table.
    const file = path.join(folder, 'attacker', 'config.json');
    const shape = JSON.parse(await readFile(file, 'utf8'));
    await writeFile(file, JSON.stringify({ ...shape, max_position_embeddings: 256 }));
    io = ioAt('cache');
    world = await open(io);
    const runsFolder = path.join(folder, 'runs');
    run = await startRun({ config: config(), runsFolder, name: 'language', ifTaken: 'refuse' }, io);
    const store = await openStore(run.databasePath, { readOnly: true });
    report = buildReport({ store, manifest: await readManifest(run.manifestPath), status: 'done' });
    store.close();
  }, 600_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const figure = (stage: string, metric: string): number => {
    const value = report.stages.find(({ name }) => name === stage)?.metrics[metric]?.value;
    if (value === null || value === undefined) throw new Error(`${stage} has no ${metric}`);
    return value;
  };

  it('has regions at the base rate that was asked, shares that sum to 1, and an effective size', () => {
    const { truth, keys } = world;
    expect(keys).toHaveLength(4);
    expect(Math.abs(truth.baseRate.share - 0.2)).toBeLessThan(0.08);
    expect([...truth.keys, truth.keyless].reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6);
    expect(truth.effective).toBeGreaterThan(20);
    expect(truth.effective).toBeLessThanOrEqual(1536);
    for (const { radius, nearRadius } of keys) expect(nearRadius).toBeLessThan(radius);
  });

  it('is measured against the truth like a made world; the exact row is resampled from it', () => {
    for (const stage of ['sft', 'gflownet', 'smoothing', 'exact']) {
      expect(figure(stage, 'modeRecall')).toBeLessThanOrEqual(1);
      expect(figure(stage, 'shareError')).toBeLessThanOrEqual(1);
    }
    expect(figure('exact', 'modeRecall')).toBe(1);
    expect(figure('exact', 'asr')).toBeGreaterThan(0.85);
    expect(figure('exact', 'shareError')).toBeLessThan(2.5 * figure('exact', 'shareErrorFloor'));
    expect(figure('exact', 'exactEffective')).toBeCloseTo(world.truth.effective, 3);
    expect(figure('sft', 'asr')).toBeLessThan(0.4);
    expect(figure('sft', 'shareError')).toBeGreaterThan(0.5);
  });

  it('shares its reference with a run of its own seed, which draws nothing anew', async () => {
    const folders = (await readdir(world.folder)).filter((name) => name.startsWith('draws-'));
    expect(folders).toEqual([`draws-${world.reference.slice(0, 16)}`]);
  });

  it('is where a run of another seed may start, which then draws nothing anew', async () => {
    const from = config(['seed=9', 'attacker.from=world', 'attackers=[exact]', 'evaluation.causes.clusters=0']);
    const runsFolder = path.join(folder, 'runs');
    await startRun({ config: from, runsFolder, name: 'from-world', ifTaken: 'refuse' }, io);
    const folders = (await readdir(world.folder)).filter((name) => name.startsWith('draws-'));
    expect(folders).toEqual([`draws-${world.reference.slice(0, 16)}`]);
  });

  it('measures a run of another seed and adapter by draws of its own, with the proposal of the world', async () => {
    const other = config(['seed=6', 'attacker.lora.rank=8', 'attackers=[exact]', 'evaluation.causes.clusters=0']);
    const runsFolder = path.join(folder, 'runs');
    const { databasePath } = await startRun({ config: other, runsFolder, name: 'other', ifTaken: 'refuse' }, io);
    const store = await openStore(databasePath, { readOnly: true });
    const metrics = store.metrics('evaluate:exact');
    store.close();
    const value = (name: string) => metrics.find((metric) => metric.name === name)?.value as number;
    expect(value('modeRecall')).toBe(1);
    expect(value('shareError')).toBeLessThan(2.5 * value('shareErrorFloor'));
    const folders = (await readdir(world.folder)).filter((name) => name.startsWith('draws-'));
    expect(folders).toHaveLength(2);
  });

  it('refuses to measure an attacker of another model', async () => {
    const measured = measureLanguage(world, { model: 'another' } as MeasuredReference, {} as LanguageMeasurePlan);
    await expect(measured).rejects.toMatchObject({ code: 'config', hint: expect.stringContaining('world.attacker') });
  });

  it('is shown with its regions, the base rate that was reached, and the effective size', () => {
    const { text, json } = describeLanguageWorld(world);
    for (const { phrase } of world.keys) expect(text).toContain(phrase);
    expect(text).toMatch(/The reference succeeds at \d+\.\d{3}% ± \d+\.\d{3}%, asked for 20\.000%/);
    expect(text).toContain(`worth ${world.truth.effective.toFixed(0)} independent ones`);
    expect(json).toMatchObject({ spec: world.spec, truth: world.truth });
  });

  it('is refused where too few draws tell the truth, and the refusal is remembered', async () => {
    const sparse = ['world.baseRate=0.0005', 'world.samples=256'];
    const reason = {
      code: 'world',
      message: expect.stringContaining('refused: '),
      hint: expect.stringContaining('samples'),
    };
    await expect(open(io, sparse)).rejects.toMatchObject(reason);
    const start = () => {
      throw new Error('it is measured again');
    };
    await expect(open({ ...io, progress: { start } }, sparse)).rejects.toMatchObject(reason);
  });

  it('is refused when its record is damaged, with the way to have it made again', async () => {
    const file = path.join(world.folder, 'world.json');
    const good = await readFile(file);
    for (const bad of [good.subarray(0, good.length / 2), Buffer.from('{"spec": 1}')]) {
      await writeFile(file, bad);
      await expect(open(io)).rejects.toMatchObject({ code: 'format', hint: expect.stringContaining(world.folder) });
    }
    await writeFile(file, good);
  });

  it('has the same bytes when it is made again, stopped between two batches and resumed', async () => {
    const stop = new AbortController();
    const stopping: CampaignIo = {
      ...ioAt('again', stop.signal),
      progress: {
        start: (label) => ({
          update: (done) => (label === 'measure the world' && done > 900 ? stop.abort() : undefined),
          finish: () => undefined,
        }),
      },
    };
    await expect(open(stopping)).rejects.toMatchObject({
      code: 'interrupted',
      hint: expect.stringContaining('same command'),
    });
    const again = await open(ioAt('again'));
    const bytes = (each: LanguageWorld) => readFile(path.join(each.folder, 'world.json'));
    expect(again.folder).not.toBe(world.folder);
    expect(await bytes(again)).toEqual(await bytes(world));
  });
});
