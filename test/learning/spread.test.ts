import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { POOL_CAPACITY, SuccessPool, spreadTerm } from '../../src/learning/reward/spread.ts';

const angle = (radians: number): Float32Array => Float32Array.of(Math.cos(radians), Math.sin(radians));

describe('the factor on the reward', () => {
  test('halves at n0 neighbours and eta 1, and is 1 without any', () => {
    expect(spreadTerm({ eta: 1, n0: 3, cosine: 0.75 }, 3)).toBeCloseTo(Math.log(1 / 2), 12);
    expect(spreadTerm({ eta: 2, n0: 3, cosine: 0.75 }, 3)).toBeCloseTo(Math.log(1 / 4), 12);
    expect(spreadTerm({ eta: 1, n0: 3, cosine: 0.75 }, 0)).toBeCloseTo(0, 12);
  });

  test('at eta 1 a way of many wordings weighs as much as a way of one', () => {
    const mass = (wordings: number): number =>
      wordings * Math.exp(spreadTerm({ eta: 1, n0: 1e-9, cosine: 0 }, wordings));
    expect(mass(1000) / mass(1)).toBeCloseTo(1, 6);
  });
});

describe('the pool of successes', () => {
  test('counts distinct texts above the cosine', () => {
    const pool = new SuccessPool();
    for (const [i, radians] of [0, 0.1, 0.2, 1.5].entries()) pool.add(`attack ${i}`, angle(radians));
    pool.add('attack 0', angle(0));
    expect(pool.size).toBe(4);
    expect(pool.near(angle(0), Math.cos(0.15))).toBe(2);
    expect(pool.near(angle(0), Math.cos(1.6))).toBe(4);
    expect(pool.near(angle(3), 0.9)).toBe(0);
  });

  test('a full pool lets the oldest go, and takes it back when it comes again', () => {
    const pool = new SuccessPool();
    for (let i = 0; i < POOL_CAPACITY + 10; i++) pool.add(`attack ${i}`, angle(i < 10 ? 0 : 1.5));
    expect(pool.size).toBe(POOL_CAPACITY);
    expect(pool.near(angle(0), 0.9)).toBe(0);
    pool.add('attack 3', angle(0));
    expect(pool.near(angle(0), 0.9)).toBe(1);
  });

  test('a restored pool counts and fills as the original does', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 60 }), (steps) => {
        const pool = new SuccessPool();
        for (const step of steps) pool.add(`attack ${step}`, angle(step / 10));
        const restored = SuccessPool.from(JSON.parse(JSON.stringify(pool.state())));
        expect(restored.state()).toEqual(pool.state());
        pool.add('new', angle(2));
        restored.add('new', angle(2));
        expect(restored.state()).toEqual(pool.state());
        expect(restored.near(angle(1), 0.9)).toBe(pool.near(angle(1), 0.9));
      }),
    );
  });

  test('of a full ring is restored with the same slot next', () => {
    const pool = new SuccessPool();
    for (let i = 0; i < POOL_CAPACITY + 5; i++) pool.add(`attack ${i}`, angle(i));
    const restored = SuccessPool.from(pool.state());
    for (const each of [pool, restored]) each.add('new', angle(0));
    expect(restored.state()).toEqual(pool.state());
  });

  test('refuses a damaged state and another width', () => {
    const pool = new SuccessPool();
    pool.add('a', angle(0));
    expect(() => SuccessPool.from({ ...pool.state(), rows: '' })).toThrow(/damaged/);
    expect(() => pool.add('b', Float32Array.of(1))).toThrow(/expected 2/);
  });
});
