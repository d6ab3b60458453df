import { expect, test } from 'vitest';
import type { Curve } from '../../src/report/figures/learning-curves.ts';
import { curvesSection } from '../../src/report/sections/section-curves.ts';

const curve = (metric: string, values: readonly number[]): Curve => ({
  metric,
  isSparse: false,
  points: values.map((value, update) => ({ update, value })),
});

const bodyOf = (curves: readonly Curve[]): string =>
  String(curvesSection({ curves: [{ stage: 'gflownet', updates: 3, curves }] } as never)?.body.markup);

test('the age of attacks that workers drew is one line of the report, and none where the learner drew them', () => {
  const line = 'Workers wrote its attacks, with an attacker that was at most 5 updates old, 3.0 on average.';
  expect(bodyOf([curve('loss', [3, 2, 1]), curve('searchLag', [1, 3, 5])])).toContain(line);
  expect(bodyOf([curve('loss', [3, 2, 1])])).not.toContain('Workers wrote');
});
