import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { reportSchema, writeReport } from '../../src/report/figures/report-json.ts';
import { FIXTURE_CAUSES, fixtureRun } from './fixture-run.ts';

const page = readFileSync(new URL('../../docs/report-json.md', import.meta.url), 'utf8');
const example: unknown = JSON.parse(page.match(/```json\n([\s\S]*?)```/)?.[1] ?? '');

it('the documented example is a valid report, and is written as it is', async () => {
  const report = reportSchema.parse(example);
  const path = join(mkdtempSync(join(tmpdir(), 'floodgate-report-')), 'report.json');
  await writeReport(path, report);
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(example);
});

it('refuses a key that it does not know, and a number that is none', () => {
  expect(reportSchema.safeParse({ ...(example as object), extra: 1 }).success).toBe(false);
  const withText = JSON.parse(JSON.stringify(example).replace('"value":0.25', '"value":"a quarter"'));
  expect(reportSchema.safeParse(withText).success).toBe(false);
});

it('holds no text of an attack or an answer', async () => {
  const { store, report } = await fixtureRun({ causes: FIXTURE_CAUSES });
  const written = JSON.stringify(report);
  const stages = store.stages().flatMap(({ name }) => store.attacks({ stage: name }));
  const answers = stages.flatMap(({ id }) => store.responses(id).map(({ text }) => text));
  const named = FIXTURE_CAUSES.ways.flatMap(({ cause, example }) => [cause, example]);
  const texts = [...new Set([...stages.map(({ text }) => text), ...answers, ...named])];
  store.close();
  expect(texts.length).toBeGreaterThan(100);
  expect(texts.filter((text) => written.includes(text))).toEqual([]);
  expect(report.stages.at(-1)?.causes?.ways).toEqual([
    { isEcho: false, successes: 15, searches: 4, wordings: 2, words: 3 },
    { isEcho: true, successes: 8, searches: 1, wordings: 1, words: 6 },
  ]);
});
