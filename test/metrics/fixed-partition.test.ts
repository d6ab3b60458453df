import { describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import { clusterAttacks } from '../../src/metrics/unique-attacks.ts';
import { cosinesAmong, partitionInOrder, rareCountsOf } from '../../src/metrics/unseen-ways.ts';

function randomMatrix(rows: number, width: number, seed: number, centres = 12) {
  const stream = randomStream(seed, 'partition test');
  const middle = Array.from({ length: centres }, () => Array.from({ length: width }, () => stream.nextNormal()));
  const data = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const centre = middle[stream.nextInt(centres)] as number[];
    const values = centre.map((value) => value + 0.55 * stream.nextNormal());
    const norm = Math.hypot(...values);
    data.set(
      values.map((value) => value / norm),
      row * width,
    );
  }
  return createEmbeddingMatrix(data, rows, width);
}

const positions = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('partition by greedy representatives', () => {
  const matrix = randomMatrix(80, 6, 3);
  const similarity = cosinesAmong(matrix, positions(80));

  test('opens as many clusters as unique attacks does, and every attack is in one', () => {
    for (const threshold of [0.7, 0.75, 0.8]) {
      const { sizes } = partitionInOrder(similarity, positions(80), threshold);
      expect(sizes.length).toBe(clusterAttacks(similarity, positions(80), threshold).length);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(80);
      expect(Math.min(...sizes)).toBeGreaterThanOrEqual(1);
    }
  });

  test('unconfirmed clusters are those whose first attack is new to all others: by leaving each out', () => {
    for (const seed of [1, 2, 3, 4]) {
      const order = randomStream(seed, 'order').shuffle(positions(80));
      for (const threshold of [0.6, 0.75, 0.9]) {
        const newToOthers = order.filter((left) => {
          const others = order.filter((attack) => attack !== left);
          const found = clusterAttacks(similarity, others, threshold);
          return found.every(({ representative }) => similarity(left, representative) <= threshold);
        });
        const counts = rareCountsOf(partitionInOrder(similarity, order, threshold));
        expect(counts.singletons).toBe(newToOthers.length);
        expect(counts.draws).toBe(80);
        expect(counts.singletons + 2 * counts.doubletons).toBeLessThanOrEqual(80);
      }
    }
  });

  test('cosines by position, of chosen rows', () => {
    const chosen = cosinesAmong(matrix, [5, 9, 60]);
    expect(chosen(0, 2)).toBeCloseTo(similarity(5, 60), 6);
    expect(chosen(2, 1)).toBe(chosen(1, 2));
    expect(partitionInOrder(chosen, [])).toEqual({ sizes: [], isConfirmed: [] });
  });
});
