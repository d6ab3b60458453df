import { describe, expect, it } from 'vitest';
import { teachUntilFit } from '../../src/worlds/teach-until-fit.ts';
import type { WorldTruth } from '../../src/worlds/world-truth.ts';

const FIT = { exactRecall: 1, exactSuccess: 0.9, leakError: 0.005 };

/** A truth that only false alarms keep from being admitted; at most 0.01 of the posterior is. */
const withAlarms = (share: number): WorldTruth => ({ ...FIT, falseAlarms: { share, error: 0 } }) as WorldTruth;

/** Lessons after which false alarms have these shares; records from which lesson's target each started. */
async function lessonsOf(shares: readonly number[], most: number) {
  const starts: (number | undefined)[] = [];
  const target = await teachUntilFit(async (lesson, from: { lesson: number; truth: WorldTruth } | undefined) => {
    starts.push(from?.lesson);
    return { lesson, truth: withAlarms(shares[lesson] as number) };
  }, most);
  return { starts, returned: target.lesson };
}

describe('teachUntilFit', () => {
  it('gives no further lesson to a target that fits', async () => {
    expect(await lessonsOf([0.002, 0.001], 3)).toEqual({ starts: [undefined], returned: 0 });
  });

  it('starts each further lesson from the best target so far, not from the last', async () => {
    expect(await lessonsOf([0.012, 0.031, 0.011, 0.004], 3)).toEqual({ starts: [undefined, 0, 0, 2], returned: 3 });
  });

  it('returns the best target when none fits, so that its world is refused for what it is', async () => {
    expect(await lessonsOf([0.03, 0.012, 0.02], 2)).toEqual({ starts: [undefined, 0, 1], returned: 1 });
  });

  it('takes a target that fits before one whose errors are smaller in sum', async () => {
    const truths = [
      { ...FIT, leakError: 0, falseAlarms: { share: 0.011, error: 0 } },
      { ...FIT, leakError: 0.019, falseAlarms: { share: 0.009, error: 0 } },
    ] as WorldTruth[];
    const target = await teachUntilFit(async (lesson) => ({ lesson, truth: truths[lesson] as WorldTruth }), 3);
    expect(target.lesson).toBe(1);
  });
});
