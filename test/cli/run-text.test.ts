import { expect, it } from 'vitest';
import { reportTable } from '../../src/cli/run-text.ts';
import type { Report } from '../../src/report/figures/report-json.ts';

const stage = (name: string, n: number) => ({
  name,
  metrics: { asr: { value: 0.5, low: 0.4, high: 0.6, n } },
  judges: [{ name: 'a judge', reported: true, metrics: { uniqueAttacks: { value: 9, low: null, high: null, n } } }],
});
const tableOf = (...sizes: number[]) =>
  reportTable({ stages: sizes.map((n, i) => stage(`stage-${i}`, n)) } as unknown as Report);

it('shows the number of attacks beside every stage, and warns where they differ', () => {
  expect(tableOf(64, 64)).toMatch(/stage +attacks +judge[\s\S]*stage-0 +64 +a judge/);
  expect(tableOf(64, 64)).not.toContain('do not compare');
  expect(tableOf(64, 1024)).toContain('different numbers of attacks: do not compare counts of unique attacks');
});
