import { describe, expect, it } from 'vitest';
import { simulateSearches } from '../../lab/queue/simulated-searches.ts';

const OPTIONS = { batch: 10, draw: 100, answers: 500, adapter: 10, publish: 1, update: 200, depth: 4 };

/** The long run, of which the first updates are a small part. */
const near = (ms: number, expected: number): void => {
  expect(ms / expected).toBeGreaterThan(0.97);
  expect(ms / expected).toBeLessThan(1.03);
};

describe('simulated searches', () => {
  it('go at the pace of one worker that draws while the search before is answered', () => {
    near(simulateSearches(1, OPTIONS), 1000);
  });

  it('go at the pace of a worker that waits for answers where these take longer: two at once', () => {
    near(simulateSearches(1, { ...OPTIONS, answers: 3000 }), 2000);
  });

  it('go at the pace of the learner where workers suffice', () => {
    near(simulateSearches(64, { ...OPTIONS, depth: 16 }), 210);
  });

  it('wait for a search of so many updates before where it takes longer than these', () => {
    // From one search to the taking of its answers: four updates, the search itself, and the update that takes them.
    near(simulateSearches(64, OPTIONS), (1000 + 500 + 200 + 10) / 5);
  });
});
