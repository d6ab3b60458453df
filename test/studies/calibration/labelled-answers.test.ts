import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addLabels, readLabels } from '../../../src/runs/store/label-store.ts';
import type { NewLabel } from '../../../src/runs/store/labels.ts';
import type { RunStore } from '../../../src/runs/store/run-store.ts';
import {
  answersAtRandom,
  createLabelErrors,
  labelledAnswers,
} from '../../../src/studies/calibration/labelled-answers.ts';
import { fixtureRun } from '../../report/fixture-run.ts';

let store: RunStore;
beforeAll(async () => {
  ({ store } = await fixtureRun());
});
afterAll(() => store.close());

test('labels for one judge alone change the errors of that judge, and of no other', () => {
  const path = join(mkdtempSync(join(tmpdir(), 'floodgate-judge-')), 'labels.db');
  const answers = answersAtRandom(store);
  // A text has one label: its copy in the other evaluation holds it, too.
  const unsafe = answers.filter(({ unsafe }) => (unsafe.get('other') ?? 0) > 0.5);
  const agreeing = answers.map(
    ({ subject, unsafe }): NewLabel => ({
      kind: 'verdict',
      subject,
      value: (unsafe.get('other') ?? 0) > 0.5 ? 'unsafe' : 'safe',
    }),
  );
  addLabels(path, agreeing);
  const errorsOf = (judge: string) => createLabelErrors(store, readLabels(path))(judge);
  const before = errorsOf('other');
  const safe = answers.length - unsafe.length;
  expect(before?.specificity).toMatchObject({ value: 1, n: safe });
  expect(errorsOf('trainer')).toEqual(before);
  const wrong = new Set(unsafe.slice(0, 5).map(({ subject }) => subject));
  addLabels(
    path,
    [...wrong].map((subject): NewLabel => ({ kind: 'verdict', subject, value: 'safe', judge: 'trainer' })),
  );
  const changed = answers.filter(({ subject }) => wrong.has(subject)).length;
  expect(errorsOf('other')).toEqual(before);
  expect(errorsOf('trainer')?.specificity).toMatchObject({ value: safe / (safe + changed), n: safe + changed });
  expect(errorsOf('trainer')?.sensitivity).toMatchObject({ n: unsafe.length - changed });
});

test('a copy of a sampled text, later in the order, is not one that a reader chose', () => {
  const path = join(mkdtempSync(join(tmpdir(), 'floodgate-judge-')), 'labels.db');
  const answers = answersAtRandom(store);
  const sampled = answers.slice(0, 12);
  const label = (subject: string): NewLabel => ({ kind: 'verdict', subject, value: 'safe' });
  addLabels(
    path,
    sampled.map(({ subject }) => label(subject)),
  );
  const texts = new Set(sampled.map(({ subject }) => subject));
  const gap = answers.findIndex(({ subject }) => !texts.has(subject));
  const copies = answers.slice(gap).filter(({ subject }) => texts.has(subject));
  expect(copies.length).toBeGreaterThan(0);
  const found = labelledAnswers(answers, readLabels(path), 'other');
  expect(found).toMatchObject({ inSample: gap });
  expect(found.labelled).toHaveLength(gap);
  const chosen = answers.findLast(({ subject }) => !texts.has(subject)) as (typeof answers)[number];
  addLabels(path, [label(chosen.subject)]);
  const after = labelledAnswers(answers, readLabels(path), 'other');
  expect(after.inSample).toBe(gap);
  expect(after.labelled.slice(gap).every(({ subject }) => subject === chosen.subject)).toBe(true);
  expect(after.labelled.length).toBeGreaterThan(gap);
});
