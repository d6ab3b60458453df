import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { finishSteps } from '../../../src/metrics/steps.ts';
import { countNewClusters as countInSteps } from '../../../src/studies/rounds/measure-rounds.ts';

const countNewClusters = (...parameters: Parameters<typeof countInSteps>) => finishSteps(countInSteps(...parameters));

/** Unit vectors of the plane, by angle in degrees. */
const at = (...angles: readonly number[]): Float32Array =>
  Float32Array.from(angles.flatMap((angle) => [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)]));

/** cos 30 degrees is 0.866, cos 40 is 0.766. */
const THRESHOLD = 0.8;

describe('new clusters of a round', () => {
  test('are those that are far from every representative of every earlier round', () => {
    const rounds = [at(0, 10, 90), at(5, 180), at(92, 185, 270, 275)];
    expect(countNewClusters(rounds, 2, THRESHOLD)).toEqual([
      { clusters: 2, fresh: 2 },
      { clusters: 2, fresh: 1 },
      { clusters: 3, fresh: 1 },
    ]);
  });

  test('a cluster that was not new in its own round still counts as known later', () => {
    // 30 joins no earlier cluster's representative but is near it; 60 is near 30 and far from 0.
    expect(countNewClusters([at(0), at(30), at(60)], 2, THRESHOLD).map(({ fresh }) => fresh)).toEqual([1, 0, 0]);
  });

  test('a round without a success has none, and hides nothing from the next', () => {
    expect(countNewClusters([at(), at(0), at()], 2, THRESHOLD)).toEqual([
      { clusters: 0, fresh: 0 },
      { clusters: 1, fresh: 1 },
      { clusters: 0, fresh: 0 },
    ]);
  });

  test('are all in the first round, and never more than the clusters', () => {
    const angles = fc.array(fc.array(fc.integer({ min: 0, max: 359 }), { maxLength: 12 }), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(angles, (rounds) => {
        const counts = countNewClusters(
          rounds.map((each) => at(...each)),
          2,
          THRESHOLD,
        );
        expect(counts[0]?.fresh).toBe(counts[0]?.clusters);
        for (const { clusters, fresh } of counts) expect(fresh).toBeLessThanOrEqual(clusters);
        // The same round again brings nothing.
        const twice = countNewClusters([at(...(rounds[0] ?? [])), at(...(rounds[0] ?? []))], 2, THRESHOLD);
        expect(twice[1]?.fresh).toBe(0);
      }),
    );
  });
});
