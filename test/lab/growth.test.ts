import { expect, test } from 'vitest';
import { folderGrowth } from '../../lab/growth/folder-growth.ts';
import { type Growth, growthText, slopeOf } from '../../lab/growth/measured.ts';
import { metricsGrowth } from '../../lab/growth/metrics-growth.ts';
import { attackMetrics } from '../../src/metrics/registry.ts';

const growing = (exponent: number, unit = 1e-6): Growth => ({
  work: `exponent ${exponent}`,
  of: 'attacks',
  points: [1000, 2000, 4000].map((size) => ({ size, seconds: unit * size ** exponent })),
});

test('the exponent is that of the last two sizes, and none where the times are too short', () => {
  expect(slopeOf(growing(2))).toBeCloseTo(2, 10);
  expect(slopeOf(growing(1, 1e-4))).toBeCloseTo(1, 10);
  expect(slopeOf(growing(1, 1e-6))).toBeUndefined();
  const bent = { ...growing(1, 1e-4), points: [...growing(1, 1e-4).points, { size: 8000, seconds: 4 * 0.4 }] };
  expect(slopeOf(bent)).toBeCloseTo(2, 10);
});

test('work of the same sizes is one table', () => {
  const other = { ...growing(1), points: [{ size: 7, seconds: 0.5 }] };
  const tables = growthText([growing(2), growing(1), other]).split('\n\n');
  expect(tables).toHaveLength(2);
  expect(tables[0]).toMatch(/attacks +1,000 +2,000 +4,000 +exponent\nexponent 2 +1\.0 s +4\.0 s +16\.0 s +2\.00/);
  expect(tables[1]).toMatch(/attacks +7 +exponent\nexponent 1 +500 ms +too short/);
});

test('a run folder and the metrics of an evaluation are measured at every size', async () => {
  const said: string[] = [];
  const folders = await folderGrowth([65, 130], { say: (line) => said.push(line), repeatMs: 0 });
  expect(said).toEqual(['a run of 65 attacks', 'a run of 130 attacks']);
  expect(folders.map(({ work }) => work)).toEqual([
    'write',
    'show',
    'show --attacks 10',
    'list',
    'attacks of the report',
  ]);
  const metrics = await metricsGrowth([8], { say: () => undefined, repeatMs: 0 });
  expect(metrics.map(({ work }) => work)).toEqual([
    ...attackMetrics.all().map(({ name }) => name),
    'wordings of all',
    'all metrics',
  ]);
  for (const { points } of folders) expect(points.map(({ size }) => size)).toEqual([65, 130]);
  for (const { points } of [...folders, ...metrics])
    for (const { seconds } of points) expect(seconds).toBeGreaterThanOrEqual(0);
});
