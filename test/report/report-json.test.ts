import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { reportSchema, writeReport } from '../../src/report/figures/report-json.ts';

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
