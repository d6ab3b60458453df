import { afterEach, describe, expect, it, vi } from 'vitest';
import { NOTHING_SPENT } from '../../src/trial/call-log.ts';
import { type CallState, callNote, withCallNotes } from '../../src/trial/call-progress.ts';

const STATE: CallState = {
  counts: { found: 0, begun: 0, underWay: 0 },
  spent: { ...NOTHING_SPENT, targetCalls: 1204, money: 0.4249 },
  currency: undefined,
  status: { atOnce: 16, underWay: 8, rateLimited: 0 },
};

afterEach(() => vi.useRealTimers());

describe('the live line of a run that asks elsewhere', () => {
  it('says calls, rate and how many at once; 429s, kept answers and money where there are any', () => {
    expect(callNote(STATE, 31.04)).toBe('1,204 calls, 31.0/s, 8 of 16 at once');
    const more = {
      ...STATE,
      counts: { ...STATE.counts, found: 512 },
      currency: 'USD',
      status: { ...STATE.status, rateLimited: 3 },
    };
    expect(callNote(more, 0)).toBe('1,204 calls, 0.0/s, 8 of 16 at once, 3x 429, 512 from the log, 0.42 USD');
  });

  it('follows what the stage says, and is drawn between two updates', () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    const notes: string[] = [];
    let calls = 0;
    const sink = {
      start: () => ({
        update: (done: number, note = '') => void notes.push(`${done}: ${note}`),
        finish: (note = '') => void notes.push(`end: ${note}`),
      }),
    };
    const state = () => ({ ...STATE, spent: { ...NOTHING_SPENT, targetCalls: calls } });
    const progress = withCallNotes(sink, state).start('gflownet', 10, 'updates');
    progress.update(1, 'loss 2');
    calls = 50;
    vi.advanceTimersByTime(1100);
    progress.finish();
    vi.advanceTimersByTime(1100);
    expect(notes).toHaveLength(3);
    expect(notes[0]).toBe('1: loss 2, 0 calls, 0.0/s, 8 of 16 at once');
    expect(notes[1]).toMatch(/^1: loss 2, 50 calls, 50\.0\/s, 8 of 16 at once$/);
    expect(notes[2]).toMatch(/^end: loss 2, 50 calls/);
  });
});
