import { describe, expect, it } from 'vitest';
import { simulateUpdate } from '../../lab/queue/simulated-scaling.ts';

const OPTIONS = { batch: 64, job: 100, concurrency: 1, learner: 0, redis: 0, update: 0 };

describe('the simulated scaling of workers', () => {
  it.each([
    [1, 6400],
    [2, 3200],
    [64, 100],
    [256, 100],
  ])('without costs of the queue, %i workers share the jobs of an update', (workers, ms) => {
    expect(simulateUpdate(workers, OPTIONS)).toBe(ms);
  });

  it('adds the update, and a slot counts as a worker', () => {
    expect(simulateUpdate(1, { ...OPTIONS, update: 50 })).toBe(6450);
    expect(simulateUpdate(8, { ...OPTIONS, concurrency: 8 })).toBe(100);
  });

  it('is bound by the learner where that has more to do than the workers', () => {
    // 64 jobs of 10 ms each on the learner's core, and the first and last half of the way of one job.
    const ms = simulateUpdate(256, { ...OPTIONS, job: 1, learner: 10 });
    expect(ms).toBeGreaterThanOrEqual(640);
    expect(ms).toBeLessThan(660);
  });

  it('is bound by Redis in the same way', () => {
    expect(simulateUpdate(256, { ...OPTIONS, job: 1, redis: 10 })).toBeGreaterThanOrEqual(640);
  });
});
