import { describe, expect, test } from 'vitest';
import { isScreening, screen, surrogateValue } from '../../../src/learning/proposals/screen.ts';
import { Surrogate } from '../../../src/learning/proposals/surrogate.ts';

const RULE = { candidates: 4, controlShare: 0.25, minCorrelation: 0.3 };
const PLAN = { count: 4, seed: 1, update: 3 };

const angle = (radians: number): Float32Array => Float32Array.of(Math.cos(radians), Math.sin(radians));

/** A surrogate that has seen attacks score by their first coordinate. */
function trained(rows = 100): Surrogate {
  const surrogate = new Surrogate(1);
  for (let i = 0; i < rows; i++) surrogate.learn(angle(i), Math.cos(i));
  return surrogate;
}

/** Candidates at these angles, at temperature 1. */
const candidatesAt = (angles: readonly number[]) =>
  angles.map((radians, i) => ({
    attack: { source: 'fresh' as const, tokens: [i], terminated: true, text: `attack ${i}`, logPi: -1 },
    embedding: angle(radians),
  }));

describe('screening', () => {
  test('keeps the control as it came and fills the rest with the best predictions', () => {
    const chosen = screen(candidatesAt([3, 2.9, 2.8, 2.7, 0, 1.2, -1.2, 3.1]), trained(), RULE, PLAN);
    expect(chosen.map(({ attack }) => attack.text).sort()).toEqual(['attack 0', 'attack 4', 'attack 5', 'attack 6']);
    expect(chosen[0]?.attack).toMatchObject({ text: 'attack 0', source: 'fresh' });
    expect(chosen.slice(1).map(({ attack }) => attack.source)).toEqual(Array(3).fill('screened'));
    for (const { embedding, prediction } of chosen) expect(prediction).toBeCloseTo(embedding[0] as number, 0);
  });

  test('takes no two that are near each other while there are others', () => {
    const near = candidatesAt([3, 0, 0.01, 0.02, 0.03, 1.5, -1.5]);
    const texts = screen(near, trained(), RULE, PLAN).map(({ attack }) => attack.text);
    expect(texts).toContain('attack 5');
    expect(texts).toContain('attack 6');
    expect(texts).toHaveLength(4);
    const onlyNear = candidatesAt([3, 0, 0.01, 0.02, 0.03]);
    expect(screen(onlyNear, trained(), RULE, PLAN)).toHaveLength(4);
  });

  test('chooses nothing before the surrogate knows enough, or while it is wrong', () => {
    const candidates = candidatesAt([3, 2.9, 2.8, 2.7, 0, 1.2]);
    const firstFour = ['attack 0', 'attack 1', 'attack 2', 'attack 3'];
    const textsBy = (surrogate: Surrogate) =>
      screen(candidates, surrogate, RULE, PLAN).map(({ attack }) => attack.text);
    expect(textsBy(trained(10))).toEqual(firstFour);
    const wrong = trained();
    for (let i = 0; i < 64; i++) wrong.observe(i, -i);
    expect(isScreening(wrong, RULE)).toBe(false);
    expect(textsBy(wrong)).toEqual(firstFour);
    for (let i = 0; i < 64; i++) wrong.observe(i, i);
    expect(isScreening(wrong, RULE)).toBe(true);
    expect(textsBy(wrong)).not.toEqual(firstFour);
  });

  test('is the same for the same seed and update', () => {
    const candidates = candidatesAt(Array.from({ length: 32 }, (_, i) => i));
    const plan = { ...PLAN, count: 8 };
    expect(screen(candidates, trained(), RULE, plan)).toEqual(screen(candidates, trained(), RULE, plan));
  });

  test('the surrogate learns the logarithm of P(unsafe), floored', () => {
    expect(surrogateValue({ logS: -9, meanUnsafe: 0.5, responses: 1 })).toBeCloseTo(Math.log(0.5), 12);
    expect(surrogateValue({ logS: -9, meanUnsafe: 0, responses: 1 })).toBeCloseTo(Math.log(0.01), 12);
  });
});
