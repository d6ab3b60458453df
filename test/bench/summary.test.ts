import { describe, expect, it } from 'vitest';
import type { SideRun } from '../../bench/interleave.ts';
import { figuresOf, ratioOf, sideFigures, spreadOf } from '../../bench/summary.ts';
import { timesAsFast } from '../../bench/work.ts';

function side(name: string, ...seconds: number[]): SideRun {
  return { name, ready: {}, answers: seconds.map((s, run) => ({ run, name, seconds: s })), failure: undefined };
}

describe('spreadOf', () => {
  it('gives the middle of an odd count and the mean of the two middles of an even one', () => {
    expect(spreadOf([5, 1, 3])).toMatchObject({ median: 3, min: 1, max: 5, all: [5, 1, 3] });
    expect(spreadOf([10, 1, 3, 2]).median).toBe(2.5);
  });
});

describe('figuresOf', () => {
  it('finds nested numbers and leaves the run and texts out', () => {
    const answer = { run: 3, name: 'a', seconds: 2, phases: { target: 1.5, judge: 0.5 } };
    expect([...figuresOf(answer)]).toEqual([
      ['seconds', 2],
      ['phases.target', 1.5],
      ['phases.judge', 0.5],
    ]);
  });

  it('is spread over the rounds of a side', () => {
    expect(sideFigures(side('a', 4, 2, 3)).seconds).toMatchObject({ median: 3, min: 2, max: 4 });
  });
});

describe('ratioOf', () => {
  it('pairs the rounds: a machine that slows down for both sides changes nothing', () => {
    const runs = [side('ours', 1, 10, 2), side('peer', 2, 20, 4)];
    expect(ratioOf(runs, timesAsFast('ours', 'peer', 2))).toMatchObject({
      value: { median: 2, min: 2, max: 2 },
      isReached: true,
    });
  });

  it('says when the median misses the goal, on either side', () => {
    const runs = [side('ours', 1, 1, 1), side('peer', 3, 1, 1)];
    expect(ratioOf(runs, timesAsFast('ours', 'peer', 1.01)).isReached).toBe(false);
    expect(ratioOf(runs, { ...timesAsFast('ours', 'peer'), goal: { atMost: 0.9 } }).isReached).toBe(false);
    expect(ratioOf(runs, { ...timesAsFast('ours', 'peer'), goal: { atLeast: 0.9, atMost: 1.1 } }).isReached).toBe(true);
  });

  it('has no value, and so no goal reached, when a side failed', () => {
    const failed: SideRun = { name: 'peer', ready: undefined, answers: [], failure: 'gone' };
    const result = ratioOf([side('ours', 1), failed], timesAsFast('ours', 'peer', 2));
    expect(result.missing).toBe('peer has no seconds');
    expect(result.value).toBeUndefined();
    expect(result.isReached).toBeUndefined();
  });
});
