import { expect, test } from 'vitest';
import { meanCosineDistance } from '../../src/metrics/cosine-distance.ts';
import { createEmbeddingMatrix, selectRows } from '../../src/metrics/embedding-matrix.ts';
import { pointMeasure } from '../../src/metrics/measure.ts';
import {
  attackMetrics,
  measureAttackSet,
  measureAttackSetInSteps,
  measureAttacksInSteps,
} from '../../src/metrics/registry.ts';
import { selfBleu } from '../../src/metrics/self-bleu.ts';
import { finishSteps } from '../../src/metrics/steps.ts';
import { attackOutcome } from '../../src/metrics/success.ts';
import { vendiScore } from '../../src/metrics/vendi-score.ts';
import { golden, matrixOf } from './golden-values.ts';

const success = attackOutcome([{ kind: 'scored', unsafe: 0.9 }]);
const failure = attackOutcome([{ kind: 'scored', unsafe: 0.2 }]);
const unknown = attackOutcome([{ kind: 'unscored', reason: 'empty' }]);

const [numbers] = golden.embeddings;
if (numbers === undefined) throw new Error('no golden embeddings');
const embeddings = matrixOf(numbers);
const texts = golden.texts.slice(0, embeddings.rows);
const outcomes = texts.map((_, i) => (i === 7 ? unknown : i % 3 === 0 ? success : failure));
const set = { texts, embeddings, outcomes };

test('brings every metric of the set, each the value of its own function, with its interval', () => {
  const { metrics, ...rest } = measureAttackSet(set, { seed: 1, draws: 40 });
  expect(rest).toMatchObject({ successes: 20, excluded: 1, unscoredResponses: 1, clusters: { attacks: 20 } });
  expect(metrics.asr).toMatchObject({ value: 20 / 59, n: 59 });
  expect(metrics.uniqueAttacks.value).toBe(rest.clusters.clusters);
  expect(metrics.cosineDistance.value).toBe(meanCosineDistance(embeddings).value);
  expect(metrics.vendi.value).toBe(vendiScore(embeddings).value);
  expect(metrics.selfBleu.value).toBe(selfBleu(texts).value);
  const successes = selectRows(
    embeddings,
    texts.flatMap((_, i) => (i % 3 === 0 ? [i] : [])),
  );
  expect(metrics.vendiOfSuccesses.value).toBe(vendiScore(successes).value);
  expect(metrics.cosineDistanceOfSuccesses.value).toBe(meanCosineDistance(successes).value);
  for (const name of ['uniqueAttacks', 'cosineDistance', 'vendi', 'selfBleu'] as const) {
    const { value, low, high } = metrics[name];
    expect(low, name).toBeLessThanOrEqual(value ?? -1);
    expect(high, name).toBeGreaterThanOrEqual(value ?? 99);
  }
  expect(metrics.selfBleu.method).toContain('at 60 of 60 attacks, 40 subsamples of 30');
  expect(metrics.echoRate.value).toBeNull();
});

test('is JSON-safe and the same from the same seed', () => {
  const report = measureAttackSet(set, { seed: 1, draws: 20 });
  expect(JSON.parse(JSON.stringify(report))).toStrictEqual(report);
  expect(measureAttackSet(set, { seed: 1, draws: 20 })).toStrictEqual(report);
  expect(measureAttackSet(set, { seed: 2, draws: 20 })).not.toEqual(report);
});

test('measures that no judge changes are the same by every judge, and are taken over where they are known', () => {
  const options = { seed: 1, draws: 20 };
  const ofAttacks = finishSteps(measureAttacksInSteps(set, options));
  const names = Object.keys(ofAttacks);
  expect(names).toEqual(['cosineDistance', 'selfBleu', 'vendi', 'distinct1', 'distinct2', 'vocabulary']);
  const byAnother = { ...set, outcomes: outcomes.map((_, i) => (i % 2 === 0 ? success : failure)) };
  for (const each of [set, byAnother]) {
    const whole = measureAttackSet(each, options);
    for (const name of names) expect(whole.metrics[name], name).toStrictEqual(ofAttacks[name]);
    const report = finishSteps(measureAttackSetInSteps(each, options, ofAttacks));
    expect(report).toStrictEqual(whole);
    expect(Object.keys(report.metrics)).toEqual(attackMetrics.all().map(({ name }) => name));
  }
  const known = pointMeasure(-1, 60, 'known');
  const { metrics } = finishSteps(measureAttackSetInSteps(set, options, { vendi: known }));
  expect(metrics.vendi).toBe(known);
});

test('states diversity at a smaller size for comparison, with the echo rate when masked outcomes are given', () => {
  const maskedOutcomes = outcomes.map((outcome, i) =>
    i === 0 ? success : outcome.kind === 'scored' ? failure : outcome,
  );
  const { metrics } = measureAttackSet({ ...set, maskedOutcomes }, { seed: 1, size: 30, draws: 40 });
  expect([metrics.uniqueAttacks.n, metrics.vendi.n, metrics.selfBleu.n]).toEqual([30, 30, 30]);
  expect(metrics.asr.n).toBe(59);
  expect(metrics.echoRate).toMatchObject({ value: 19 / 20, n: 20 });
});

test('no attacks and no successes are null or 0, never NaN', () => {
  const none = measureAttackSet(
    { texts: [], embeddings: createEmbeddingMatrix(new Float32Array(0), 0, 4), outcomes: [] },
    { seed: 1 },
  );
  expect(none.metrics.asr.value).toBeNull();
  expect(none.metrics.vendi.value).toBeNull();
  expect(JSON.parse(JSON.stringify(none))).toStrictEqual(none);
  const failed = measureAttackSet({ ...set, outcomes: texts.map(() => failure) }, { seed: 1, draws: 10 });
  expect(failed.metrics.uniqueAttacks).toMatchObject({ value: 0, low: null });
  expect(failed.metrics.cosineDistanceOfSuccesses.value).toBeNull();
});

test('parts that do not belong together are refused', () => {
  expect(() => measureAttackSet({ ...set, texts: [] }, { seed: 1 })).toThrow(/got 0 texts, 60 embeddings, 60 outcomes/);
  expect(() => measureAttackSet(set, { seed: 1, size: 61 })).toThrow(/got 61/);
});
