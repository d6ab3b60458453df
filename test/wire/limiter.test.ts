import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { type AdaptiveLimiter, createAdaptiveLimiter, createLimiter } from '../../src/wire/limiter.ts';
import { createPace } from '../../src/wire/pace.ts';

const going = new AbortController().signal;

/** Runs `calls` tasks through the limiter at once. */
const runAll = (limiter: AdaptiveLimiter, calls: number, task: (i: number) => Promise<unknown>) =>
  Promise.all(Array.from({ length: calls }, (_, i) => limiter.run(() => task(i), going)));

describe('a fixed limiter', () => {
  it('keeps its bound and the order of the calls, and says how many are under way', async () => {
    const limiter = createLimiter(3);
    const begun: number[] = [];
    let most = 0;
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        limiter.run(async () => {
          begun.push(i);
          most = Math.max(most, limiter.underWay);
          await wait(1);
        }, going),
      ),
    );
    expect(begun).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect([most, limiter.limit, limiter.underWay]).toEqual([3, 3, 0]);
  });
});

it.each([
  ['a fixed limiter', () => createLimiter(1)],
  ['an adaptive limiter', () => createAdaptiveLimiter({ first: 1, most: 1 })],
])('%s lets a waiting task go as soon as it is aborted, and keeps its place for the next', async (_name, create) => {
  const limiter = create();
  let end = (): void => undefined;
  const first = limiter.run(() => new Promise<void>((resolve) => (end = resolve)), going);
  const stop = new AbortController();
  const aborted = expect(limiter.run(async () => 'aborted', stop.signal)).rejects.toThrow(/given up/);
  const last = limiter.run(async () => 'last', going);
  stop.abort(new Error('given up'));
  await aborted;
  expect(limiter.underWay).toBe(1);
  end();
  await first;
  expect(await last).toBe('last');
  expect(limiter.underWay).toBe(0);
});

describe('an adaptive limiter', () => {
  it('begins nothing while the server asks to wait, also when it asks again meanwhile', async () => {
    const limiter = createAdaptiveLimiter({ first: 4, most: 4 });
    const began = performance.now();
    limiter.pressed(100);
    const task = limiter.run(async () => performance.now() - began, going);
    await wait(50);
    limiter.pressed(200);
    expect(await task).toBeGreaterThanOrEqual(240);
  });

  it('doubles while all goes well, up to its most', async () => {
    const limiter = createAdaptiveLimiter({ first: 4, most: 16 });
    let most = 0;
    await runAll(limiter, 100, async () => {
      most = Math.max(most, limiter.underWay);
      await wait(2);
    });
    expect([most, limiter.limit]).toEqual([16, 16]);
  });

  it('finds the number that a server takes without status 429, and stays about there', async () => {
    const limiter = createAdaptiveLimiter({ first: 4, most: 64 });
    let open = 0;
    let refused = 0;
    const limits: number[] = [];
    await runAll(limiter, 600, async () => {
      for (;;) {
        open++;
        const isRefused = open > 10;
        await wait(2);
        open--;
        if (!isRefused) break;
        refused++;
        limiter.pressed(0);
        await wait(4);
      }
      limits.push(limiter.limit);
    });
    const later = limits.slice(200);
    const mean = later.reduce((sum, limit) => sum + limit, 0) / later.length;
    expect(mean).toBeGreaterThan(4);
    expect(mean).toBeLessThan(14);
    expect(refused).toBeLessThan(150);
  });

  it('is halved once by many calls that meet the same wall, and never below 1', async () => {
    const limiter = createAdaptiveLimiter({ first: 16, most: 16 });
    await runAll(limiter, 16, async () => {
      await wait(2);
      limiter.pressed(0);
    });
    expect(limiter.limit).toBeGreaterThanOrEqual(4);
    expect(limiter.limit).toBeLessThanOrEqual(8);
    for (let i = 0; i < 10; i++) limiter.pressed(0);
    expect(limiter.limit).toBe(1);
  });

  it('falls when answers take much longer than at best', async () => {
    const limiter = createAdaptiveLimiter({ first: 4, most: 64 });
    // A server that computes one answer after the other: twice as many calls wait twice as long.
    let turn = Promise.resolve();
    await runAll(limiter, 120, () => {
      turn = turn.then(() => wait(15));
      return turn;
    });
    // Without the rule it would have doubled to 64.
    expect(limiter.limit).toBeLessThanOrEqual(32);
    expect(limiter.limit).toBeGreaterThan(1);
  });

  it('rises again at a server that has become slower by itself', async () => {
    const limiter = createAdaptiveLimiter({ first: 4, most: 8 });
    await runAll(limiter, 20, () => wait(1));
    const limits: number[] = [];
    await runAll(limiter, 250, async () => {
      await wait(60);
      limits.push(limiter.limit);
    });
    expect(Math.min(...limits)).toBeLessThan(8);
    expect(limits.at(-1)).toBe(8);
  });

  it('begins nothing while the server asks to wait', async () => {
    const limiter = createAdaptiveLimiter({ first: 4, most: 4 });
    limiter.pressed(80);
    const startMs = performance.now();
    await limiter.run(async () => undefined, going);
    expect(performance.now() - startMs).toBeGreaterThan(70);
  });
});

describe('a pace', () => {
  const timeOf = async (work: () => Promise<unknown>): Promise<number> => {
    const startMs = performance.now();
    await work();
    return performance.now() - startMs;
  };

  it('is none without a limit', () => {
    expect(createPace({})).toBeUndefined();
  });

  it('spreads requests: a burst of one second, then one after the other', async () => {
    const pace = createPace({ requestsPerMinute: 600 });
    // 10 a second: ten at once, five more over half a second.
    const ms = await timeOf(() => Promise.all(Array.from({ length: 15 }, () => pace?.take(0, going))));
    expect(ms).toBeGreaterThan(450);
    expect(ms).toBeLessThan(1500);
  });

  it('spreads tokens: a call of many waits for what it has taken before', async () => {
    const pace = createPace({ tokensPerMinute: 6000 });
    expect(await timeOf(() => pace?.take(100, going) as Promise<void>)).toBeLessThan(60);
    expect(await timeOf(() => pace?.take(40, going) as Promise<void>)).toBeGreaterThan(350);
  });

  it('stops waiting when the work is interrupted', async () => {
    const pace = createPace({ requestsPerMinute: 1 });
    await pace?.take(0, going);
    const controller = new AbortController();
    const waiting = pace?.take(0, controller.signal);
    controller.abort(new Error('stop'));
    await expect(waiting).rejects.toThrow('stop');
  });
});
