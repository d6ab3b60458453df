import { describe, expect, test } from 'vitest';
import { equalSuccesses } from '../../../src/studies/robustness/plan-robustness.ts';

describe('successes that every target is tuned on', () => {
  test('are as many as the attacker with the fewest has', () => {
    expect(equalSuccesses([120, 45, 300], 32)).toBe(45);
  });

  test('are not held down by an attacker that has less than a tuning batch', () => {
    expect(equalSuccesses([120, 3, 300], 32)).toBe(120);
  });

  test('are all that there are where no attacker has a batch', () => {
    expect(equalSuccesses([4, 9], 32)).toBe(9);
    expect(equalSuccesses([], 32)).toBe(1);
  });
});
