import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type ProgressSink, silentProgress } from '../../../src/base/progress.ts';
import { causeWords, comparableWords, holdsCause } from '../../../src/metrics/causes.ts';
import { buildReport, type Report } from '../../../src/report/figures/report-json.ts';
import { readManifest } from '../../../src/runs/manifest.ts';
import { openRunFolder, type RunFolder } from '../../../src/runs/run-folder.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { evaluationStage } from '../../../src/runs/store/stage-name.ts';
import { planRun } from '../../../src/stages/campaign/plan-run.ts';
import { evaluateRun, resumeRun, startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { causesPlan } from '../../../src/stages/evaluation/causes-plan.ts';
import { storedCauses } from '../../../src/stages/evaluation/causes-record.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

vi.setConfig({ testTimeout: 300_000 }); // whole campaigns

/** Long enough that an attack has several words. */
const LENGTH = ['attacker.minTokens=8', 'attacker.maxTokens=16'];
const SHORT = ['attackers=[sft]', 'sft.updates=4', 'evaluation.attacks=64', ...LENGTH];
const ON = [...SHORT, 'evaluation.causes={ clusters: 20, responses: 2 }'];
/** Words of the tiny attacker are letters or pieces of words: half of all attacks hold one of these. */
const RULES =
  'target.rules=[{ contains: z, respond: [alarm bell] }, { contains: q, respond: [bell q q] }, { contains: e, respond: [alarm bell, fine] }]';
const NAME = 'causes:sft';

let tiny: TinyCampaign;
let folder: RunFolder;

beforeAll(async () => {
  tiny = await createTinyCampaign();
  folder = await start('whole', ON);
});
afterAll(() => tiny.remove());

function start(
  name: string,
  overrides: readonly string[],
  progress: ProgressSink = silentProgress,
  signal?: AbortSignal,
) {
  const config = tiny.config([...overrides, RULES]);
  const io = { ...tiny.io(signal), progress };
  return startRun({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, io);
}

async function read<T>(what: (store: RunStore) => T, of = folder): Promise<T> {
  const store = await openStore(of.databasePath, { readOnly: true });
  try {
    return what(store);
  } finally {
    store.close();
  }
}

async function reportOf(run = folder): Promise<Report> {
  const manifest = await readManifest(run.manifestPath);
  return read((store) => buildReport({ store, manifest, status: 'done' }), run);
}

/** Every row of the search: what was asked, and how it was answered. */
const rowsOf = (store: RunStore) =>
  store.attacks({ stage: NAME }).map(({ id, text, update, source, meanUnsafe }) => ({
    ...{ text, update, source, meanUnsafe },
    responses: store.responses(id).map(({ text: answer, verdicts }) => ({ answer, verdicts })),
  }));

describe('the causes of an evaluated stage', () => {
  test('are parts of its successes that succeed, stored with an example and their size', async () => {
    const { stages } = await reportOf();
    const stored = await read((store) => storedCauses(store, 'sft'));
    expect(stages.map(({ name }) => name)).toEqual(['sft']);
    const causes = stages[0]?.causes;
    if (causes === undefined) throw new Error('the report has no causes');
    expect(causes.ways.length).toBeGreaterThan(0);
    expect(stored?.ways).toHaveLength(causes.ways.length);
    for (const { cause, example, successes, searches, wordings } of stored?.ways ?? []) {
      expect(cause).toMatch(/[zqe]/);
      expect(example.split(/\s+/).join(' ')).toContain(cause.split(' ')[0]);
      expect(successes).toBeGreaterThanOrEqual(Math.max(searches, wordings ?? 0));
      expect(wordings).toBeGreaterThan(0);
    }
    // By their own count, wordings are as many as the metric's: a way holds no more of them.
    const unique = stages[0]?.metrics.uniqueAttacks?.value ?? 0;
    expect(Math.max(...causes.ways.map(({ wordings = 0 }) => wordings))).toBeLessThanOrEqual(unique);
    expect(causes.judge).toBe('bells');
    expect(causes.metrics.ways?.value).toBe(causes.ways.length);
    expect(causes.metrics.unstableShare?.value).toBeCloseTo(causes.unstable / causes.searched, 9);
    expect(causes.searched).toBeLessThanOrEqual(20);
    const known = causes.ways.reduce((sum, { successes }) => sum + successes, 0);
    expect(known + causes.unstable + causes.unknown).toBeGreaterThanOrEqual(causes.successes);
    // With its variants, a way explains every success that it counts.
    const asked = await read((store) => new Set(rowsOf(store).map(({ text }) => text)));
    const texts = await read((store) => store.attacks({ stage: evaluationStage('sft') }).map(({ text }) => text));
    for (const { cause, variants = [], searches, successes } of stored?.ways ?? []) {
      expect(new Set([cause, ...variants]).size).toBe(1 + variants.length);
      expect(variants.length).toBeLessThan(searches);
      expect(variants.filter((each) => !asked.has(each))).toEqual([]);
      const holding = texts.filter((text) =>
        [cause, ...variants].some((each) => holdsCause(comparableWords(causeWords(text)), causeWords(each))),
      );
      expect(holding.length).toBeGreaterThanOrEqual(successes);
    }
    expect(stored?.ways.some(({ variants }) => variants !== undefined)).toBe(true);
    expect(causes.metrics.waysMissingMass?.n).toBeGreaterThan(0);
    expect(causes.discovery.length).toBe(causes.unknown === 0 ? 16 : causes.discovery.length);
  });

  test('are asked of the target and of the counting judge alone, each answer counted', async () => {
    const { rows, cost } = await read((store) => ({ rows: rowsOf(store), cost: store.cost(NAME) }));
    expect(rows.every(({ source }) => source === 'cause')).toBe(true);
    expect(rows.every(({ responses }) => responses.length === 2)).toBe(true);
    expect(cost).toMatchObject({ targetCalls: 2 * rows.length, judgeCalls: 2 * rows.length });
    const judges = rows.flatMap(({ responses }) => responses.flatMap(({ verdicts }) => verdicts.map((v) => v.judge)));
    expect(new Set(judges)).toEqual(new Set(['bells']));
    const causes = (await reportOf()).stages[0]?.causes;
    expect(causes?.cost).toEqual(cost);
  });

  test('leave the evaluation as it is without them', async () => {
    const without = await start('without', SHORT);
    const evaluation = (store: RunStore) => ({
      attacks: store.attacks({ stage: 'evaluate:sft' }).map(({ id, ...row }) => ({ ...row, all: store.responses(id) })),
      metrics: store.metrics('evaluate:sft'),
    });
    const strip = (value: unknown): unknown =>
      JSON.parse(JSON.stringify(value, (key, each) => (key === 'id' ? undefined : each)));
    expect(strip(await read(evaluation))).toEqual(strip(await read(evaluation, without)));
    expect((await reportOf(without)).stages[0]?.causes).toBeUndefined();
  });

  test('are asked for again from where an interruption stopped: every answer is kept, none is asked twice', async () => {
    const stop = new AbortController();
    let updates = 0;
    const progress: ProgressSink = {
      start: (label) => ({
        update: () => {
          if (label === NAME && ++updates === 2) stop.abort();
        },
        finish: () => undefined,
      }),
    };
    const run = start('stopped', ON, progress, stop.signal);
    await expect(run).rejects.toMatchObject({ code: 'interrupted' });
    const stopped = await openRunFolder('stopped', tiny.runsFolder);
    const before = await read(rowsOf, stopped);
    expect(new Set(before.map(({ update }) => update))).toEqual(new Set([0, 1]));
    await resumeRun(stopped, tiny.io());
    expect(await read(rowsOf, stopped)).toEqual(await read(rowsOf));
    const [whole, resumed] = [await reportOf(), await reportOf(stopped)].map(({ stages }) => stages[0]?.causes);
    expect(resumed?.ways).toEqual(whole?.ways);
    expect(resumed?.metrics).toEqual(whole?.metrics);
    expect(resumed?.cost.targetCalls).toBe(whole?.cost.targetCalls);
    expect(await read((store) => store.repeatedCalls(), stopped)).toEqual([]);
  });

  test('are looked for again when the stage is evaluated again', async () => {
    const again = await start('again', ON);
    await evaluateRun(again, ['sft'], { attacks: 24, replace: true }, tiny.io());
    const { causes } = (await reportOf(again)).stages[0] as Report['stages'][number];
    expect(causes?.metrics.ways?.n).toBeLessThanOrEqual(24);
    expect(causes?.successes).toBeLessThanOrEqual(24);
    expect(await read((store) => store.repeatedCalls().map(({ stage }) => stage), again)).toContain(NAME);
  });

  test('are not looked for in a finished run that never began to', async () => {
    const finished = await openRunFolder('without', tiny.runsFolder);
    await resumeRun(finished, tiny.io());
    expect(await read((store) => store.stages().map(({ name }) => name), finished)).not.toContain(NAME);
  });
});

describe('the plan of causes', () => {
  test('is on for a target on this machine, and off where a config says so', () => {
    const on = tiny.config(['evaluation={ attacks: 64 }']);
    expect(causesPlan(on)).toEqual({ clusters: 64, responses: 3, asks: 24 });
    expect(causesPlan(tiny.config())).toMatchObject({ clusters: 0 });
  });

  test('is counted before the run starts: never fewer calls than are made', async () => {
    const plan = await planRun(tiny.config([...ON, RULES]), tiny.io());
    expect(plan.stages.find(({ name }) => name === NAME)).toMatchObject({
      targetCalls: 20 * 24 * 2,
      judgeCalls: 20 * 24 * 2,
    });
    const off = await planRun(tiny.config(SHORT), tiny.io());
    expect(off.stages.map(({ name }) => name)).not.toContain(NAME);
  });
});
