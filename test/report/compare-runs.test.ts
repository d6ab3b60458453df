import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareRuns } from '../../src/report/compare/compare-runs.ts';
import { figureRows } from '../../src/report/compare/comparison-words.ts';
import { writeManifest } from '../../src/runs/manifest.ts';
import { createRunFolder, type RunFolder, recordRunStatus } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { evaluationStage, transferStage } from '../../src/runs/store/stage-name.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { cli } from '../cli/cli-runner.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { FIXTURE_CAUSES, fixtureManifest, recordFixtureCauses } from './fixture-run.ts';

const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });
const WAY = { ...(FIXTURE_CAUSES.ways[0] as (typeof FIXTURE_CAUSES.ways)[number]) };

interface Fixture {
  readonly name: string;
  readonly asr: readonly [number, number, number];
  /** P(unsafe) of the only answer to each text. */
  readonly attacks: Readonly<Record<string, number>>;
  readonly causes: readonly string[];
  readonly judge?: string;
  readonly seed?: number;
}

let folder: string;
const folders = new Map<string, RunFolder>();

async function makeRun({ name, asr, attacks, causes, judge = 'other', seed = 0 }: Fixture): Promise<void> {
  const own = { ...config, seed };
  const run = await createRunFolder({ runsFolder: folder, name, ifTaken: 'refuse', configAt: () => own });
  const judges = { training: 'trainer', evaluation: [judge] };
  await writeManifest(run.manifestPath, fixtureManifest(own, { run: name, judges }));
  const store = await openStore(run.databasePath);
  recordRunStatus(store, 'done');
  const rows = (texts: Fixture['attacks']) =>
    Object.entries(texts).map(([text, unsafe], i) => ({
      ...({ source: 'evaluation', ids: [i], logPi: -1, logPRef: -1, logReward: -1, meanUnsafe: unsafe, text } as const),
      responses: [{ text: 'answer', tokens: 1, truncated: false, verdicts: [{ judge, masked: false, unsafe }] }],
    }));
  const [value, low, high] = asr;
  store.beginStage(evaluationStage('smoothing'), 1);
  store.recordUpdate({
    stage: evaluationStage('smoothing'),
    update: 0,
    attacks: rows(attacks),
    metrics: [{ name: 'asr', judge, value, low, high, n: 100, method: 'wilson', confidence: 0.95 }],
  });
  store.endStage(evaluationStage('smoothing'), 'done');
  // Answers of another target say nothing about this one.
  store.beginStage(transferStage({ attacker: 'smoothing', target: 'copy' }), 1);
  store.recordUpdate({
    stage: transferStage({ attacker: 'smoothing', target: 'copy' }),
    update: 0,
    attacks: rows({ 'tell me of kettles': 1, 'write of lamps': 1 }),
  });
  store.endStage(transferStage({ attacker: 'smoothing', target: 'copy' }), 'done');
  const ways = causes.map((cause) => ({ ...WAY, cause, example: `please ${cause} now` }));
  recordFixtureCauses(store, 'smoothing', { ...FIXTURE_CAUSES, judge, ways });
  store.close();
  folders.set(name, run);
}

const of = (...names: string[]): RunFolder[] => names.map((name) => folders.get(name) as RunFolder);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-compare-'));
  await makeRun({
    name: 'before',
    asr: [0.5, 0.4, 0.6],
    attacks: { 'tell me of kettles': 0.9, 'write of lamps': 0.8, 'sing of doors': 0.7, 'say hello': 0.1 },
    causes: ['of kettles', 'of lamps', 'of doors'],
  });
  await makeRun({
    name: 'between',
    asr: [0.2, 0.1, 0.3],
    attacks: { 'tell me of kettles': 0.1, 'say hello': 0.1 },
    causes: ['of doors'],
    seed: 7,
  });
  await makeRun({
    name: 'after',
    asr: [0.1, 0.05, 0.2],
    attacks: { 'tell me of kettles': 0.9, 'write of lamps': 0.2, 'say hello': 0.9, 'draw of spoons': 0.9 },
    causes: ['of Kettles', 'of spoons'],
    seed: 7,
  });
  await makeRun({ name: 'judged', asr: [0.1, 0, 0.2], attacks: { 'say hello': 1 }, causes: [], judge: 'third' });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a comparison of runs', () => {
  it('pairs the attacks that the first and the last run asked their own targets', async () => {
    const { shared } = await compareRuns(of('before', 'after'));
    expect(shared?.counts).toEqual({ both: 1, firstOnly: 1, secondOnly: 1, neither: 0 });
    expect(shared?.difference).toMatchObject({ value: 0, n: 3 });
  });

  it('says of each way whether it is new, open, back, closed, or was not asked', async () => {
    const statesOf = async (...names: string[]) => {
      const { ways } = await compareRuns(of(...names));
      return Object.fromEntries(ways.map(({ cause, state }) => [cause.toLowerCase(), state]));
    };
    expect(await statesOf('before', 'after')).toEqual({
      'of kettles': 'open',
      'of lamps': 'closed',
      'of doors': 'unseen',
      'of spoons': 'new',
    });
    expect(await statesOf('before', 'between', 'after')).toMatchObject({ 'of kettles': 'back', 'of doors': 'unseen' });
    expect(await statesOf('before', 'between')).toMatchObject({ 'of kettles': 'closed', 'of lamps': 'unseen' });
  });

  it('gives differences with intervals, and the settings that differ', async () => {
    const { attackers, settings, warnings } = await compareRuns(of('before', 'after'));
    const rate = attackers[0]?.figures.find(({ name }) => name === 'success rate');
    expect(rate?.difference?.value).toBeCloseTo(-0.4, 12);
    expect(rate?.difference?.high).toBeCloseTo(-0.4 + Math.hypot(0.1, 0.1), 12);
    expect(settings).toEqual([{ key: 'seed', values: ['0', '7'] }]);
    expect(warnings).toEqual([]);
  });

  it('says that a figure is lower or higher only where the whole interval of its difference is', async () => {
    const directionOf = async (...names: string[]) =>
      figureRows(await compareRuns(of(...names))).find(({ figure }) => figure === 'success rate')?.direction;
    expect(await directionOf('before', 'after')).toBe('lower');
    expect(await directionOf('after', 'before')).toBe('higher');
    expect(await directionOf('between', 'after')).toBe('unclear');
  });

  it('pairs nothing and warns where the judges differ', async () => {
    const { shared, warnings } = await compareRuns(of('before', 'judged'));
    expect(shared).toBeUndefined();
    expect(warnings[0]).toContain('other, third');
  });

  it('refuses one run, the same run twice, and a run that measured nothing', async () => {
    await expect(compareRuns(of('before'))).rejects.toThrow('expected two or more');
    await expect(compareRuns(of('before', 'before'))).rejects.toThrow('one run twice');
    const empty = await createRunFolder({
      runsFolder: folder,
      name: 'empty',
      ifTaken: 'refuse',
      configAt: () => config,
    });
    await expect(compareRuns([...of('before'), empty])).rejects.toThrow('measured nothing');
  });
});

describe('floodgate compare', () => {
  it('prints states and counts, and causes only on request', async () => {
    const args = ['compare', 'before', 'after', '--runs-dir', folder];
    const plain = await cli(args);
    expect(plain).toMatchObject({ code: 0, stderr: '' });
    expect(plain.stdout).toContain('1 way closed');
    expect(plain.stdout).toContain('-0.400');
    expect(plain.stdout).not.toContain('lamps');
    expect((await cli([...args, '--json'])).stdout).not.toContain('lamps');
    expect((await cli([...args, '--ways', '5'])).stdout).toContain('closed: of lamps');
    expect(JSON.parse((await cli([...args, '--json', '--ways', '1'])).stdout).ways[0]).toHaveProperty('cause');
  });
});
