import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { meanOverSeeds } from '../../../src/metrics/intervals.ts';
import { seedFigures } from '../../../src/report/compare/seed-figures.ts';
import { parseSeeds, runSeeds } from '../../../src/studies/seeds/run-seeds.ts';
import { cli } from '../../cli/cli-runner.ts';
import { createTinyCampaign, type TinyCampaign } from '../../stages/tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  await tiny?.remove();
  expect(liveSessionLabels()).toEqual([]);
});

describe('words for seeds', () => {
  it.each([
    ['0..4', [0, 1, 2, 3, 4]],
    ['3', [3]],
    ['0,3, 7', [0, 3, 7]],
    ['5,0..2,1', [5, 0, 1, 2]],
    ['2..2', [2]],
  ])('%s', (text, seeds) => expect(parseSeeds(text)).toEqual(seeds));

  it.each(['', '4..0', '-1', '1.5', '0..', 'a', '0..4..8', '1,,2', '0..1000', '0..999999999', '0..600,600..1200'])(
    'none: %j',
    (text) => expect(() => parseSeeds(text)).toThrow(/^--seeds: got .*, expected/),
  );
});

const measure = (value: number | null) => ({ value, low: null, high: null, n: 10 });
const stageOf = (name: string, asr: number | null, uniqueAttacks?: number) => ({
  name,
  metrics: { asr: measure(asr), ...(uniqueAttacks === undefined ? {} : { uniqueAttacks: measure(uniqueAttacks) }) },
});

describe('figures over seeds', () => {
  it('are means with a t interval over the seeds that have the figure', () => {
    const reports = [
      { stages: [stageOf('sft', 0.1, 3), stageOf('ppo', 0.5)] },
      { stages: [stageOf('sft', 0.3, 5)] },
      { stages: [stageOf('sft', null, 4), stageOf('ppo', 0.7)] },
    ];
    const figures = seedFigures(reports as unknown as Parameters<typeof seedFigures>[0]);
    expect(figures.map(({ attacker, figure }) => [attacker, figure])).toEqual([
      ['sft', 'success rate'],
      ['sft', 'wordings'],
      ['ppo', 'success rate'],
    ]);
    expect(figures.map(({ mean }) => mean)).toEqual([
      meanOverSeeds([0.1, 0.3]),
      meanOverSeeds([3, 5, 4]),
      meanOverSeeds([0.5, 0.7]),
    ]);
    expect(figures[2]?.values.map((value) => value?.value)).toEqual([0.5, undefined, 0.7]);
  });
});

const SHORT = [
  ...['attackers=[sft]', 'sft.updates=2'],
  'evaluation={attacks: 8, responses: 1, controls: 0, causes: {clusters: 0}}',
];

describe('floodgate run --seeds', () => {
  const run = (seeds: string, ...more: string[]) => {
    const sets = SHORT.flatMap((each) => ['--set', each]);
    const place = ['--runs-dir', tiny.runsFolder, '--cache-dir', path.join(tiny.folder, 'cache')];
    return cli([
      'run',
      path.join(tiny.folder, 'tiny.yaml'),
      '--name',
      'several',
      '--seeds',
      seeds,
      ...sets,
      ...place,
      ...more,
    ]);
  };

  it('makes a run and a report for each seed, and shows the means', async () => {
    const { code, stdout, stderr } = await run('0..1');
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^attacker +figure +several-seed-0 +several-seed-1 +mean over seeds\n/);
    expect(stdout).toMatch(/sft +success rate +\d\.\d{3} +\d\.\d{3} +\d\.\d{3}/);
    for (const seed of [0, 1])
      expect(existsSync(path.join(tiny.runsFolder, `several-seed-${seed}`, 'report.html'))).toBe(true);
    expect(stderr).toMatch(/the same command continues it/);
  });

  it('leaves the seeds that are done as they are, and adds others', async () => {
    const database = path.join(tiny.runsFolder, 'several-seed-0', 'run.db');
    const before = statSync(database).mtimeMs;
    const { code, stdout, stderr } = await run('0..2', '--json');
    expect(code, stderr).toBe(0);
    expect(statSync(database).mtimeMs).toBe(before);
    const { seeds, runs, figures } = JSON.parse(stdout) as Record<string, { run: string; values: unknown[] }[]>;
    expect(seeds).toEqual([0, 1, 2]);
    expect(runs?.map(({ run: name }) => name)).toEqual(['several-seed-0', 'several-seed-1', 'several-seed-2']);
    expect(figures?.[0]?.values).toHaveLength(3);
  });

  it('refuses other settings under the same name, and --seed beside --seeds', async () => {
    const other = await run('0', '--set', 'sft.updates=3');
    expect(other.code).toBe(1);
    expect(other.stderr).toMatch(/run several-seed-0: it was begun with other settings/);
    const both = await run('0', '--seed', '4');
    expect(both.code).toBe(2);
    expect(both.stderr).toMatch(/got both --seed and --seeds/);
  });

  it('says under --dry-run that the plan is one of several, and starts nothing', async () => {
    const { code, stdout, stderr } = await run('5..7', '--dry-run');
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/This is one of 3 runs\./);
    expect(existsSync(path.join(tiny.runsFolder, 'several-seed-5'))).toBe(false);
  });

  it('stops between two seeds at an interrupt', async () => {
    const stop = new AbortController();
    const plan = { config: tiny.config(SHORT), runsFolder: tiny.runsFolder, name: 'stopped', seeds: [0, 1] };
    const stopped = runSeeds(plan, tiny.io(stop.signal), async () => stop.abort());
    await expect(stopped).rejects.toMatchObject({
      code: 'interrupted',
      message: 'seeds: interrupted; finished runs are stored',
    });
    expect(existsSync(path.join(tiny.runsFolder, 'stopped-seed-0'))).toBe(true);
    expect(existsSync(path.join(tiny.runsFolder, 'stopped-seed-1'))).toBe(false);
  });
});
