import { expect, it } from 'vitest';
import { createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import { finishSteps } from '../../src/metrics/steps.ts';
import { projectToPlane as projectInSteps } from '../../src/report/attacks/attack-map.ts';
import { readGolden } from '../support/golden-file.ts';

const projectToPlane = (...parameters: Parameters<typeof projectInSteps>) => finishSteps(projectInSteps(...parameters));

interface Golden {
  readonly width: number;
  readonly rows: readonly number[];
  readonly points: readonly (readonly [number, number])[];
  readonly shownShare: number;
}

it('projects as scikit-learn does, up to the sign of an axis', async () => {
  const { width, rows, points, shownShare } = await readGolden<Golden>('report', 'principal-axes');
  const projected = projectToPlane(createEmbeddingMatrix(Float32Array.from(rows), rows.length / width, width));
  expect(projected.shownShare).toBeCloseTo(shownShare, 6);
  for (const axis of [0, 1] as const) {
    const sign = Math.sign((projected.points[0]?.[axis] ?? 0) * (points[0]?.[axis] ?? 0));
    const gaps = points.map((point, i) => Math.abs(point[axis] - sign * (projected.points[i]?.[axis] ?? Number.NaN)));
    expect(Math.max(...gaps)).toBeLessThan(1e-4);
  }
});

it('puts points without spread in one place, and points on a line on one axis', () => {
  const same = projectToPlane(createEmbeddingMatrix(Float32Array.from([1, 0, 1, 0, 1, 0]), 3, 2));
  expect(same).toEqual({
    points: [
      [0, 0],
      [0, 0],
      [0, 0],
    ],
    shownShare: null,
  });
  const two = projectToPlane(createEmbeddingMatrix(Float32Array.from([1, 0, 0, 0, 1, 0]), 2, 3));
  expect(two.shownShare).toBeCloseTo(1, 12);
  expect(Math.abs(two.points[0]?.[0] ?? 0)).toBeCloseTo(Math.SQRT1_2, 6);
  expect(two.points.map(([, y]) => y)).toEqual([0, 0]);
});
