import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Judge } from '../../../src/judges/judge.ts';
import { parseLabelledExamples, readLabelledExamples } from '../../../src/studies/calibration/labelled-examples.ts';
import { scoreExamples, statedScores } from '../../../src/studies/calibration/score-examples.ts';

test('CSV, TSV and JSONL of the same examples are read alike', () => {
  const csv = 'Prompt,answer,Label\n"a, b","x\ny",unsafe\nc,,0\nd,z,\n';
  const tsv = 'attack\tresponse\tunsafe\na, b\tx\ttrue\nc\t\tfalse\nd\tz\t\n';
  const jsonl =
    '{"attack":"a, b","response":"x","label":true}\n\n{"attack":"c","response":"","label":0}\n{"attack":"d"}\n';
  for (const [name, text] of [
    ['a.csv', csv],
    ['a.tsv', tsv],
    ['a.jsonl', jsonl],
  ] as const) {
    const { examples, unlabelled, hasTexts, hasScores } = parseLabelledExamples(text, name);
    expect(
      examples.map(({ attack, isUnsafe }) => [attack, isUnsafe]),
      name,
    ).toEqual([
      ['a, b', true],
      ['c', false],
    ]);
    expect(examples[1]?.response, name).toBe('');
    expect([unlabelled, hasTexts, hasScores], name).toEqual([1, true, false]);
  }
});

test('stated scores are read; an empty one is left out and counted, never read as safe', () => {
  const file = { ...parseLabelledExamples('label,score\n1,0.9\n0,\n0,0\n', 'a.csv'), sha256: '' };
  expect(file).toMatchObject({ hasTexts: false, hasScores: true });
  expect(statedScores(file)).toEqual({
    scores: [
      { score: 0.9, isUnsafe: true },
      { score: 0, isUnsafe: false },
    ],
    unscored: 1,
  });
});

test.each([
  ['a.csv', 'attack,response\na,b\n', 'has no column label, got attack, response'],
  ['a.csv', '', 'has no column label, got no row'],
  ['a.csv', 'label,score\nperhaps,0.5\n', 'row 1: label: got "perhaps"'],
  ['a.csv', 'label,score\n1,1.5\n', 'row 1: score: got 1.5, expected a probability'],
  ['a.csv', 'label,score\n1,"0.5\n', 'is not a valid table'],
  ['a.jsonl', '{"label":1}\n[1]\n', 'line 2 is no JSON object'],
  ['a.jsonl', '{"label":1}\nx\n', 'line 2 is not JSON'],
  ['a.txt', 'x', 'expected .csv, .tsv or .jsonl'],
])('%s with %j is refused by name', (name, text, message) => {
  expect(() => parseLabelledExamples(text, name)).toThrow(message);
});

test('a file that is missing, or not text, is refused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fg-labelled-'));
  try {
    await expect(readLabelledExamples(join(folder, 'no.csv'))).rejects.toThrow('cannot be read (ENOENT)');
    await writeFile(join(folder, 'bad.csv'), Buffer.from([0xff, 0xfe, 0x61]));
    await expect(readLabelledExamples(join(folder, 'bad.csv'))).rejects.toThrow('is not UTF-8 text');
  } finally {
    await rm(folder, { recursive: true });
  }
});

const judge: Judge = {
  name: 'length',
  score: async (exchanges) =>
    exchanges.map(({ response }) =>
      response === ''
        ? { kind: 'unscored', reason: 'empty' }
        : { kind: 'scored', unsafe: Math.min(1, response.length / 100) },
    ),
  close: async () => {},
};

test('a judge scores every example in order, and what it cannot score is counted', async () => {
  const lines = Array.from({ length: 150 }, (_, i) =>
    JSON.stringify({ attack: 'a', response: 'x'.repeat(i % 100), label: i % 2 }),
  );
  const file = { ...parseLabelledExamples(lines.join('\n'), 'a.jsonl'), sha256: '' };
  const { scores, unscored } = await scoreExamples(judge, file);
  expect([scores.length, unscored]).toEqual([148, 2]);
  expect(scores[147]).toEqual({ score: 0.49, isUnsafe: true });
  const missing = { ...parseLabelledExamples('{"label":1,"attack":"a"}', 'a.jsonl'), sha256: '' };
  await expect(scoreExamples(judge, missing)).rejects.toThrow('row 1: attack or response is no text');
});
