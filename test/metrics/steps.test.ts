import { describe, expect, test, vi } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import type { AttackSet } from '../../src/metrics/attack-set.ts';
import { createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import { corpusNote, countNgramsInSteps, ngramClusterSizes } from '../../src/metrics/ngrams.ts';
import { attackMetrics, measureAttackSet, measureAttackSetInSteps } from '../../src/metrics/registry.ts';
import { finishPausing, finishSteps, type Steps } from '../../src/metrics/steps.ts';
import { attackOutcome } from '../../src/metrics/success.ts';
import { clusterAttacksInSteps, type Similarity, uniqueAttacksAtSize } from '../../src/metrics/unique-attacks.ts';
import { unseenWays, unseenWaysInSteps } from '../../src/metrics/unseen-ways.ts';

/** Each look at the clock is 0.2 s after the one before: every place to pause is one, however fast the machine. */
vi.mock('../../src/base/clock.ts', async (original) => {
  let now = 0;
  return {
    ...(await original<typeof import('../../src/base/clock.ts')>()),
    monotonicMs: () => {
      now += 200;
      return now;
    },
  };
});

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

const LONG: [name: string, stepsOf: (set: AttackSet) => Steps<unknown>][] = [
  ['unseen ways', (set) => unseenWaysInSteps(unseenSample(set), { seed: 0 })],
  ...['uniqueAttacks', 'cosineDistance', 'selfBleu', 'vendi'].map((name): (typeof LONG)[number] => [
    name,
    (set) => attackMetrics.get(name).steps?.(set, { seed: 0 }) as Steps<unknown>,
  ]),
];

test.each(LONG)('Ctrl-C is heard long before the end: %s', async (_, stepsOf) => {
  const stop = new AbortController();
  const steps = stepsOf(successes(600));
  stop.abort();
  await expect(finishPausing(steps, stop.signal, 'measure x')).rejects.toMatchObject({ code: 'interrupted' });
  expect(steps.next().done, 'it had work left').toBe(false);
});

test('every metric of texts or embeddings has places to pause', () => {
  for (const { name, steps } of attackMetrics.all()) {
    if (['asr', 'echoRate'].includes(name)) continue; // one pass over the outcomes
    const set = successes(600); // of its own: the counts of words are kept by list of texts
    const run = steps?.(set, { seed: 0 });
    let pauses = 0;
    while (run?.next().done === false) pauses++;
    expect(pauses, name).toBeGreaterThan(name === 'cosineDistanceOfSuccesses' ? 0 : 10);
  }
});

describe('above its limit', () => {
  const half: Similarity = (i, j) => (i % 2 === j % 2 ? 1 : 0);

  test('clusters compare with the first representatives only; one that is like none of them is alone', () => {
    const rows = [0, 2, 1, 3, 4];
    expect(finishSteps(clusterAttacksInSteps(half, rows, 0.75, 1)).map(({ members }) => members)).toEqual([
      [0, 2, 4],
      [1],
      [3],
    ]);
    expect(finishSteps(clusterAttacksInSteps(half, rows, 0.75, 2)).map(({ members }) => members)).toEqual([
      [0, 2, 4],
      [1, 3],
    ]);
  });

  test('unique attacks and unseen ways are those of the first attacks, and say so', () => {
    const set = successes(120);
    const rows = set.texts.flatMap((_, i) => (i % 3 === 0 ? [i] : []));
    const first = { data: set.embeddings.data.slice(0, 60 * WIDTH), rows: 60, width: WIDTH };
    const note = ', of the first 60 of 120 attacks (at most 20 successes)';

    const options = (size: number) => ({ size, stream: randomStream(1, 'limit') });
    const cut = uniqueAttacksAtSize(set.embeddings, rows, { ...options(120), mostSuccesses: 20 });
    const whole = uniqueAttacksAtSize(first, rows.slice(0, 20), options(60));
    expect(cut).toEqual({ ...whole, method: `${whole.method}${note}` });

    const unseen = unseenWays(
      { embeddings: set.embeddings, successes: rows, attacks: 120 },
      { seed: 2, mostSuccesses: 20 },
    );
    const small = unseenWays({ embeddings: first, successes: rows.slice(0, 20), attacks: 60 }, { seed: 2 });
    expect(unseen.missingMass).toEqual({ ...small.missingMass, method: `${small.missingMass.method}${note}` });
    expect(unseen.chao1Spread).toEqual({ ...small.chao1Spread, method: `${small.chao1Spread.method}${note}` });
    expect(unseen.curve.map(({ attacks }) => attacks)).toEqual(small.curve.map(({ attacks }) => attacks));
    expect(unseen.curve[0]?.clusters.method).toContain(note);
  });

  test('text metrics read the first texts, and say so', () => {
    const texts = ['a b c', 'a b', 'c d e f'];
    const corpus = finishSteps(countNgramsInSteps(texts, 2, 6));
    expect(corpus).toEqual(finishSteps(countNgramsInSteps(texts.slice(0, 2), 2)));
    expect(corpusNote(corpus, 3)).toMatch(/^, of the first 2 of 3 texts \(at most \d+ tokens\)$/);
    expect(corpusNote(corpus, 2)).toBe('');
  });
});

test('clusters by n-gram can be interrupted', async () => {
  const stop = new AbortController();
  stop.abort();
  const texts = Array.from({ length: 20_000 }, (_, i) => `say word${i % 50} and word${i} to me now please`);
  await expect(finishPausing(ngramClusterSizes(texts, texts), stop.signal, 'cluster')).rejects.toMatchObject({
    code: 'interrupted',
  });
});
