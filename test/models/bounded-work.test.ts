import { afterEach, expect, test, vi } from 'vitest';
import { runWithin } from '../../src/models/tokenizer/bounded-work.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

const LIMIT = { limitMs: 100, operation: 'pre-tokenizer', hint: 'change the file' };

/** Work of 150 ms by the clock, in a process that got `share` of the limit as processor time. */
function workOfStarved(share: number): string {
  const user = share * LIMIT.limitMs * 1000;
  vi.spyOn(process, 'cpuUsage').mockImplementation((since) => ({ user: since === undefined ? 0 : user, system: 0 }));
  return runWithin(LIMIT, () => {
    const end = performance.now() + 1.5 * LIMIT.limitMs;
    while (performance.now() < end);
    return 'ended';
  });
}

test('work gets its whole processor time where other processes hold the cores', () => {
  expect(workOfStarved(0.1)).toBe('ended');
  expect(workOfStarved(0.6)).toBe('ended');
});

test('work that had its processor time is stopped', () => {
  expect(() => workOfStarved(0.95)).toThrow(/pre-tokenizer: stopped after 100 ms/);
});

test('work that never ends is stopped in a starved process too', () => {
  vi.spyOn(process, 'cpuUsage').mockReturnValue({ user: 0, system: 0 });
  const endless = () =>
    runWithin({ ...LIMIT, limitMs: 10 }, () => {
      for (;;);
    });
  expect(endless).toThrow(/pre-tokenizer: stopped after 80 ms/);
});
