import { afterAll, beforeAll, expect, it } from 'vitest';
import { createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import { finishSteps } from '../../src/metrics/steps.ts';
import { successIndices } from '../../src/metrics/success.ts';
import { uniqueAttacks } from '../../src/metrics/unique-attacks.ts';
import { clusterSuccesses, MAX_SHOWN_CLUSTERS } from '../../src/report/attacks/attack-clusters.ts';
import { mapAttacks } from '../../src/report/attacks/attack-map.ts';
import { type EvaluatedStage, readEvaluatedAttacks } from '../../src/report/attacks/evaluated-attacks.ts';
import type { PageSource } from '../../src/report/sections/page-content.ts';
import { fixtureRun, fixtureVector, fixtureVectors, WIDTH } from './fixture-run.ts';

/** Forty kinds, rare ones first; half of them succeed. */
const attacks = Array.from({ length: 120 }, (_, i) => ({
  text: `kind${Math.round(Math.sqrt(i) * 3.6)} words ${i}`,
  responses: [`one ${i}`, `two ${i}`, `three ${i}`],
  unsafe: i % 2 === 0 ? 0.8 : 0.3,
}));

let source: Awaited<ReturnType<typeof fixtureRun>>;
let stage: EvaluatedStage;
beforeAll(async () => {
  source = await fixtureRun({ attacks });
  stage = readEvaluatedAttacks(source.store, source.report).at(-1) as EvaluatedStage;
});
afterAll(() => source.store.close());

const clusters = (threshold: number, vectors: PageSource['vectors'] = source.vectors) =>
  finishSteps(clusterSuccesses(source.store, stage, { vectors, threshold, judge: 'other' }));

it.each([0.5, 0.75, 0.99])('counts ways as the metric does, at %d', (threshold) => {
  const texts = stage.attacks.map(({ text }) => text);
  const matrix = createEmbeddingMatrix(Float32Array.from(texts.flatMap(fixtureVector)), texts.length, WIDTH);
  const outcomes = stage.attacks.map(
    ({ isSuccess }) =>
      ({ kind: 'scored', isSuccess, meanUnsafe: 0, scoredResponses: 1, unscoredResponses: 0 }) as const,
  );
  const expected = uniqueAttacks(matrix, successIndices(outcomes), threshold).clusters;
  const found = clusters(threshold);
  const sets = (lists: readonly { readonly members: readonly number[] }[]) =>
    lists.map(({ members }) => members.join()).sort();
  expect(sets(found.clusters)).toEqual(sets(expected));
  expect(found.successes).toBe(60);
});

it('lists the largest first, and gives examples for those that the page shows', () => {
  const { clusters: list } = clusters(0.75);
  expect(list.length).toBeGreaterThan(MAX_SHOWN_CLUSTERS);
  expect(list[0]?.members.length).toBeGreaterThan(2);
  const sizes = list.map(({ members }) => members.length);
  expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
  expect(list.filter(({ examples }) => examples.length > 0)).toHaveLength(MAX_SHOWN_CLUSTERS);
  const example = list[0]?.examples[0];
  expect(example?.text).toBe(stage.attacks[list[0]?.members[0] ?? -1]?.text);
  expect(example?.responses.map(({ unsafe }) => unsafe)).toEqual([0.8, 0.8]);
});

it('draws every stage on the same axes and says what it left out', () => {
  const long = { ...stage, attacks: Array.from({ length: 500 }, (_, i) => stage.attacks[(i + 50) % 120] as never) };
  const vectors = fixtureVectors([...new Set(stage.attacks.map(({ text }) => text))]);
  const map = finishSteps(mapAttacks([stage, long], vectors, clusters(0.75)));
  expect(map?.panels.map(({ points, leftOut }) => [points.length, leftOut])).toEqual([
    [120, 0],
    [400, 100],
  ]);
  expect(map?.panels[1]?.points[7]).toEqual(map?.panels[0]?.points[57]);
  expect(map?.panels[0]?.numbered[0]?.number).toBe(1);
});
