import { expect, test } from 'vitest';
import { pointMeasure } from '../../src/metrics/measure.ts';
import { attackMetrics, defineMetric, measureAttackSet } from '../../src/metrics/registry.ts';
import { attackOutcome } from '../../src/metrics/success.ts';
import { golden, matrixOf } from './golden-values.ts';

const [numbers] = golden.embeddings;
if (numbers === undefined) throw new Error('no golden embeddings');
const embeddings = matrixOf(numbers);
const texts = golden.texts.slice(0, embeddings.rows);
const outcomes = texts.map((_, i) => attackOutcome([{ kind: 'scored', unsafe: i % 2 }]));
const set = { texts, embeddings, outcomes };

const BUILT_IN = [
  ...[
    'asr',
    'uniqueAttacks',
    'communities',
    'cosineDistance',
    'cosineDistanceOfSuccesses',
    'selfBleu',
    'vendi',
    'vendiOfSuccesses',
  ],
  ...['distinct1', 'distinct2', 'vocabulary', 'echoRate'],
];

/** A metric as a user writes one. */
const meanLength = defineMetric({
  name: 'meanLength',
  words: { label: 'Mean length', explain: 'Characters of an attack, on average.', form: 'count', isMain: true },
  measure: ({ texts: all }, { size = all.length }) =>
    pointMeasure(all.slice(0, size).reduce((sum, text) => sum + text.length, 0) / size, size, 'mean'),
});

test('measures every registered metric, in the order of registration', () => {
  const { metrics } = measureAttackSet(set, { seed: 1, draws: 5, size: 30 });
  expect(Object.keys(metrics)).toEqual([...BUILT_IN, 'meanLength']);
  expect(metrics.meanLength).toEqual(meanLength.measure(set, { seed: 1, size: 30 }));
  expect(metrics.meanLength).toMatchObject({ n: 30, method: 'mean' });
});

test('every metric has words for a report', () => {
  for (const { name, words } of attackMetrics.all()) {
    expect(words.label, name).toMatch(/^\S.{2,40}$/);
    expect(words.explain, name).toMatch(/\.$/);
  }
});

test('refuses a name that is taken or not camel case', () => {
  for (const name of ['asr', 'Asr', 'mean-length', '__proto__', ''])
    expect(() => defineMetric({ ...meanLength, name })).toThrow('define metric');
});
