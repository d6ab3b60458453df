import { expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import type { AttackSet } from '../../src/metrics/attack-set.ts';
import { createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import { measureAttackSet, measureAttackSetInSteps } from '../../src/metrics/registry.ts';
import { finishPausing } from '../../src/metrics/steps.ts';
import { attackOutcome } from '../../src/metrics/success.ts';
import { uniqueAttacksMetric } from '../../src/metrics/unique-attacks.ts';
import { unseenWays, unseenWaysInSteps } from '../../src/metrics/unseen-ways.ts';

const WIDTH = 8;

/** Random unit rows, all successful. */
function successes(rows: number): AttackSet {
  const stream = randomStream(0, 'steps test');
  const data = Float32Array.from({ length: rows * WIDTH }, () => stream.nextNormal());
  for (let row = 0; row < rows; row++) {
    const values = data.subarray(row * WIDTH, (row + 1) * WIDTH);
    const length = Math.hypot(...values);
    values.forEach((x, i) => {
      values[i] = x / length;
    });
  }
  return {
    texts: Array.from({ length: rows }, (_, i) => `attack ${i} of ${rows}`),
    embeddings: createEmbeddingMatrix(data, rows, WIDTH),
    outcomes: Array.from({ length: rows }, () => attackOutcome([{ kind: 'scored', unsafe: 1 }])),
  };
}

function unseenSample({ embeddings, texts }: AttackSet) {
  return { embeddings, successes: texts.map((_, i) => i), attacks: texts.length };
}

const running = () => new AbortController().signal;

test('a computation that pauses gives the very same figures', async () => {
  const set = successes(120);
  const options = { seed: 3 };
  expect(await finishPausing(measureAttackSetInSteps(set, options), running(), 'm')).toEqual(
    measureAttackSet(set, options),
  );
  expect(await finishPausing(unseenWaysInSteps(unseenSample(set), options), running(), 'm')).toEqual(
    unseenWays(unseenSample(set), options),
  );
});

test.each([
  ['unseen ways', (set: AttackSet) => unseenWaysInSteps(unseenSample(set), { seed: 0 })],
  [
    'unique attacks',
    (set: AttackSet) => uniqueAttacksMetric.steps?.(set, { seed: 0 }) as Generator<undefined, unknown>,
  ],
])('Ctrl-C is heard long before the end: %s', async (_, stepsOf) => {
  const stop = new AbortController();
  const steps = stepsOf(successes(2500));
  setTimeout(() => stop.abort(), 1);
  await expect(finishPausing(steps, stop.signal, 'measure x')).rejects.toMatchObject({ code: 'interrupted' });
  expect(steps.next().done, 'it had work left').toBe(false);
});
