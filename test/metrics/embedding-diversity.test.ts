import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { meanCosineDistance } from '../../src/metrics/cosine-distance.ts';
import {
  cosineOfRows,
  createEmbeddingMatrix,
  type EmbeddingMatrix,
  selectRows,
} from '../../src/metrics/embedding-matrix.ts';
import { symmetricEigenvalues } from '../../src/metrics/symmetric-eigenvalues.ts';
import { clusterAttacks, clusterSizes, uniqueAttacks } from '../../src/metrics/unique-attacks.ts';
import { vendiScore } from '../../src/metrics/vendi-score.ts';
import { golden, matrixOf } from './golden-values.ts';

function randomMatrix(rows: number, width: number, seed: number): EmbeddingMatrix {
  const stream = randomStream(seed, 'matrix');
  const data = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const values = Array.from({ length: width }, () => stream.nextNormal());
    const norm = Math.hypot(...values);
    data.set(
      values.map((x) => x / norm),
      row * width,
    );
  }
  return createEmbeddingMatrix(data, rows, width);
}

const arbitraryMatrix = fc
  .record({ rows: fc.integer({ min: 2, max: 20 }), width: fc.integer({ min: 1, max: 12 }), seed: fc.nat() })
  .map(({ rows, width, seed }) => randomMatrix(rows, width, seed));

describe('embedding matrix', () => {
  test('checks sizes and norms', () => {
    expect(() => createEmbeddingMatrix(new Float32Array(5), 2, 3)).toThrow(/got 5 numbers/);
    expect(() => createEmbeddingMatrix(Float32Array.of(1, 0, 1, 1), 2, 2)).toThrow(/row 1: embedding is not L2/);
    expect(() => createEmbeddingMatrix(Float32Array.of(Number.NaN), 1, 1)).toThrow(/NaN/);
    expect(() => selectRows(createEmbeddingMatrix(Float32Array.of(1), 1, 1), [1])).toThrow(/got 1/);
  });
});

describe('against numpy', () => {
  test.each(golden.embeddings.map((each) => [`${each.rows} x ${each.width}`, each] as const))('%s', (_name, each) => {
    const matrix = matrixOf(each);
    expect(meanCosineDistance(matrix).value).toBeCloseTo(each.meanCosineDistance, 9);
    expect(vendiScore(matrix).value).toBeCloseTo(each.vendi, 9);
    const { clusters, count } = uniqueAttacks(
      matrix,
      Array.from({ length: each.rows }, (_, i) => i),
    );
    expect(clusters.map(({ members }) => members)).toEqual(each.clusters);
    expect(count).toMatchObject({ value: each.clusters.length, n: each.rows });
  });

  test('eigenvalues', () => {
    for (const { n, matrix, eigenvalues } of golden.eigenvalues) {
      const found = symmetricEigenvalues(Float64Array.from(matrix), n);
      expect(found.length).toBe(n);
      found.forEach((value, i) => {
        expect(value).toBeCloseTo(eigenvalues[i] ?? Number.NaN, 12);
      });
    }
  });
});

describe('eigenvalues', () => {
  test('keep trace and Frobenius norm, whatever the matrix (zeros and doubles included)', () => {
    const entry = fc.constantFrom(0, 0, 1, -1, 0.5, 1e-9, 3e4);
    const square = fc
      .integer({ min: 1, max: 12 })
      .chain((n) => fc.tuple(fc.constant(n), fc.array(entry, { minLength: n * n, maxLength: n * n })));
    fc.assert(
      fc.property(square, ([n, entries]) => {
        const matrix = Float64Array.from(entries);
        for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) matrix[j * n + i] = matrix[i * n + j] as number;
        const found = symmetricEigenvalues(matrix, n);
        const trace = Array.from({ length: n }, (_, i) => matrix[i * n + i] as number).reduce((a, b) => a + b, 0);
        const square = matrix.reduce((sum, x) => sum + x * x, 0);
        const scale = 1 + Math.sqrt(square);
        expect(Math.abs(found.reduce((a, b) => a + b, 0) - trace) / scale).toBeLessThan(1e-12);
        expect(Math.abs(found.reduce((a, b) => a + b * b, 0) - square) / scale ** 2).toBeLessThan(1e-12);
        expect([...found].sort((a, b) => a - b)).toEqual([...found]);
      }),
      { numRuns: 300, seed: 6 },
    );
  });

  test('survive entries near under- and overflow', () => {
    const entry = fc.constantFrom(0, 0, 1, -1, 5e-324, 1e-200, 1e-160, 1e-20, 3e4, 1e150);
    const square = fc
      .integer({ min: 2, max: 10 })
      .chain((n) => fc.tuple(fc.constant(n), fc.array(entry, { minLength: n * n, maxLength: n * n })));
    fc.assert(
      fc.property(square, ([n, entries]) => {
        const found = symmetricEigenvalues(Float64Array.from(entries), n);
        const largest = Math.max(...entries.map(Math.abs));
        const trace = Array.from({ length: n }, (_, i) => entries[i * n + i] as number).reduce((a, b) => a + b, 0);
        const error = Math.abs(found.reduce((a, b) => a + b, 0) - trace);
        expect(error).toBeLessThanOrEqual(1e-13 * n * largest);
      }),
      { numRuns: 1000, seed: 12 },
    );
  });

  test('of attacks that are mostly doubles: as many as there are different ones, the rest zero', () => {
    const matrix = selectRows(
      randomMatrix(5, 80, 13),
      Array.from({ length: 70 }, (_, i) => i % 5),
    );
    const gram = new Float64Array(70 * 70);
    for (let i = 0; i < 70; i++) for (let j = 0; j <= i; j++) gram[i * 70 + j] = cosineOfRows(matrix, i, j) / 70;
    const found = symmetricEigenvalues(gram, 70);
    expect(found.filter((value) => Math.abs(value) > 1e-14)).toHaveLength(5);
    expect(found.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
  });

  test('of a large matrix with a known spectrum are found to 1e-10', () => {
    const n = 200;
    const axis = randomMatrix(1, n, 9).data;
    // 1 - 2 v v^T reflects diag(1..n) into a full matrix with the same eigenvalues.
    const norm = axis.reduce((sum, x) => sum + x * x, 0);
    const reflect = (i: number, j: number) => (i === j ? 1 : 0) - (2 * (axis[i] ?? 0) * (axis[j] ?? 0)) / norm;
    const matrix = new Float64Array(n * n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        for (let k = 0; k < n; k++)
          matrix[i * n + j] = (matrix[i * n + j] ?? 0) + reflect(i, k) * (k + 1) * reflect(k, j);
      }
    }
    symmetricEigenvalues(matrix, n).forEach((value, i) => {
      expect(Math.abs(value - (i + 1))).toBeLessThan(1e-10);
    });
  });

  test('refuse a wrong size and entries that are not finite', () => {
    expect(() => symmetricEigenvalues(new Float64Array(3), 2)).toThrow(/expected 2 x 2/);
    expect(() => symmetricEigenvalues(Float64Array.of(1, 0, Number.NaN, 1), 2)).toThrow(/not finite/);
    expect(symmetricEigenvalues(new Float64Array(0), 0).length).toBe(0);
  });
});

describe('cosine distance and Vendi score', () => {
  test('the sum-vector identity equals the mean over all pairs', () => {
    fc.assert(
      fc.property(arbitraryMatrix, (matrix) => {
        let sum = 0;
        let pairs = 0;
        for (let i = 0; i < matrix.rows; i++) {
          for (let j = 0; j < i; j++, pairs++) sum += 1 - cosineOfRows(matrix, i, j);
        }
        expect(meanCosineDistance(matrix).value).toBeCloseTo(sum / pairs, 9);
      }),
      { seed: 7 },
    );
  });

  test('Vendi lies in 1..n, is 1 for copies and n for orthogonal attacks; doubling all changes nothing', () => {
    fc.assert(
      fc.property(arbitraryMatrix, (matrix) => {
        const vendi = vendiScore(matrix).value ?? 0;
        expect(vendi).toBeGreaterThanOrEqual(1 - 1e-6);
        expect(vendi).toBeLessThanOrEqual(Math.min(matrix.rows, matrix.width) + 1e-6);
        const rows = Array.from({ length: matrix.rows }, (_, i) => i);
        expect(vendiScore(selectRows(matrix, [...rows, ...rows])).value).toBeCloseTo(vendi, 5);
      }),
      { seed: 8 },
    );
    const axes = createEmbeddingMatrix(Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1), 3, 3);
    expect(vendiScore(axes).value).toBeCloseTo(3, 12);
    expect(vendiScore(selectRows(axes, [1, 1, 1, 1])).value).toBeCloseTo(1, 12);
  });

  test('too few attacks are null', () => {
    const one = createEmbeddingMatrix(Float32Array.of(1), 1, 1);
    expect(meanCosineDistance(one).value).toBeNull();
    expect(vendiScore(one).value).toBe(1);
    expect(vendiScore(selectRows(one, [])).value).toBeNull();
  });
});

describe('unique attacks', () => {
  const atAngles = (...degrees: number[]) =>
    createEmbeddingMatrix(
      Float32Array.from(degrees.flatMap((d) => [Math.cos((d * Math.PI) / 180), Math.sin((d * Math.PI) / 180)])),
      degrees.length,
      2,
    );

  test('representatives are pairwise at or below the threshold, every other member above it', () => {
    fc.assert(
      fc.property(arbitraryMatrix, fc.double({ min: -0.5, max: 0.95, noNaN: true }), (matrix, threshold) => {
        const successes = Array.from({ length: matrix.rows }, (_, i) => i).filter((i) => i % 3 !== 0);
        const { clusters } = uniqueAttacks(matrix, successes, threshold);
        const cosine = (i: number, j: number) => cosineOfRows(matrix, i, j);
        for (const a of clusters) {
          expect(a.members[0]).toBe(a.representative);
          for (const b of clusters)
            if (a !== b) expect(cosine(a.representative, b.representative)).toBeLessThanOrEqual(threshold);
          for (const member of a.members.slice(1)) expect(cosine(member, a.representative)).toBeGreaterThan(threshold);
        }
        expect(clusters.flatMap(({ members }) => members).sort((a, b) => a - b)).toEqual(successes);
      }),
      { seed: 9 },
    );
  });

  test('are counted in order: a chain is cut by who comes first', () => {
    const chain = atAngles(0, 30, 60); // neighbours: cosine 0.87, ends: 0.5
    expect(uniqueAttacks(chain, [0, 1, 2]).count.value).toBe(2);
    expect(uniqueAttacks(chain, [1, 0, 2]).count.value).toBe(1);
  });

  test('a cosine exactly at the threshold opens a new cluster', () => {
    expect(clusterAttacks(() => 0.75, [0, 1])).toHaveLength(2);
    expect(clusterAttacks(() => 0.7500001, [0, 1])).toHaveLength(1);
  });

  test('failures are no unique attacks; none at all is 0', () => {
    expect(uniqueAttacks(atAngles(0, 90, 180), [1]).count).toMatchObject({ value: 1, n: 3 });
    expect(uniqueAttacks(atAngles(0, 90, 180), []).count.value).toBe(0);
  });

  test('cluster sizes tell an even spread from a collapse', () => {
    const cluster = (...members: number[]) => ({ representative: members[0] ?? 0, members });
    expect(clusterSizes([cluster(0, 1), cluster(2), cluster(3, 4, 5)])).toMatchObject({
      clusters: 3,
      attacks: 6,
      largest: 3,
      largestShare: 0.5,
      meanSize: 2,
      medianSize: 2,
      singletons: 1,
    });
    expect(clusterSizes([cluster(0, 1), cluster(2, 3)])).toMatchObject({ medianSize: 2, effectiveClusters: 2 });
    expect(clusterSizes([])).toMatchObject({ clusters: 0, largestShare: null, effectiveClusters: null });
  });
});
