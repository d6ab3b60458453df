import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createClassifierJudge } from '../../src/judges/classifier-judge.ts';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { labelProbabilities, openTextClassifier } from '../../src/models/encoder/text-classifier.ts';
import { testPath } from '../support/golden-file.ts';
import { cpu } from './open-fixture.ts';

let cacheDir: string;

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'floodgate-dead-classifier-'));
});
afterEach(async () => {
  await rm(cacheDir, { recursive: true });
});

/** The fixture's judge; the bias of its head is `value`, written after the weights were checked. */
async function judgeWithBias(family: string, value: number, activation: 'sigmoid' | 'softmax') {
  const checkpoint = await openCheckpoint(testPath('fixtures', 'models', `${family}-classifier`), { cacheDir });
  if (checkpoint.kind !== 'encoder') throw new TypeError(`${family} is no encoder`);
  const { weights, config } = checkpoint;
  const bias = weights.tensors.get(family === 'roberta' ? 'classifier.out_proj.bias' : 'classifier.bias');
  if (bias === undefined) throw new TypeError(`${family} has no head`);
  const file = await open(weights.path, 'r+');
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  await file.write(bytes, 0, 4, bias.offset);
  await file.close();
  const classifier = await openTextClassifier(checkpoint, { runtime: cpu, activation });
  const unsafeLabels = config.labels.slice(0, 1);
  return createClassifierJudge(classifier, { name: 'dead', unsafeLabels, activation, input: 'response' });
}

test.each(
  ['bert', 'roberta', 'distilbert'].flatMap((family) =>
    (['sigmoid', 'softmax'] as const).flatMap((activation) =>
      [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].map(
        (value) => [family, activation, value] as const,
      ),
    ),
  ),
)('%s, %s: a judge whose logit is %s cannot score; the response is not safe', async (family, activation, value) => {
  const judge = await judgeWithBias(family, value, activation);
  const [verdict] = await judge.score([{ attack: 'the cat', response: 'the hat' }]);
  await judge.close();
  expect(verdict).toMatchObject({ kind: 'unscored', reason: expect.stringMatching(/dead: returned NaN/) });
});

test.each(['sigmoid', 'softmax'] as const)(
  '%s: a row without numbers leaves the other rows as they are',
  (activation) => {
    const rows = labelProbabilities(Float32Array.of(1, 2, 1, Number.NEGATIVE_INFINITY, 1, 2), 2, activation);
    expect(rows[1]).toEqual(Float32Array.of(Number.NaN, Number.NaN));
    expect(rows[2]).toEqual(rows[0]);
    expect(rows[0]?.every((p) => p > 0 && p < 1)).toBe(true);
  },
);
