import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EnumerableWorld, openEnumerableWorld } from '../../../lab/enumerable/enumerable-world.ts';
import { randomStream } from '../../../src/base/random.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { exactPosterior, totalVariation } from '../../../src/worlds/exact-sampler.ts';

const SMALL = { words: 5, maxTokens: 3, keys: 4, referenceUpdates: 60 } as const;

describe('exact posterior', () => {
  test('of a table by hand: rewards 1, 2, 5', () => {
    const { probabilities, logZ } = exactPosterior([0, Math.log(2), Math.log(5)]);
    expect([...probabilities]).toEqual([0.125, 0.25, 0.625].map((p) => expect.closeTo(p, 12)));
    expect(logZ).toBeCloseTo(Math.log(8), 12);
  });

  test('total variation: 0 to itself, also when both are tempered alike, 1 when disjoint', () => {
    const logRewards = [-1, -3, 0.5, -700];
    const tempered = exactPosterior(logRewards.map((logReward) => logReward / 2)).probabilities;
    const byHand = logRewards.map((logReward) => Math.exp(logReward / 2));
    const total = byHand.reduce((sum, value) => sum + value, 0);
    const shares = byHand.map((value) => value / total);
    expect(totalVariation(tempered, shares)).toBeCloseTo(0, 12);
    expect(totalVariation(exactPosterior(logRewards).probabilities, shares)).toBeGreaterThan(0.1);
    expect(totalVariation([1, 0], [0, 1])).toBe(1);
    expect(totalVariation([0.5, 0.3, 0.2], [0.2, 0.3, 0.5])).toBeCloseTo(0.3, 12);
  });
});

describe('a small enumerable world', () => {
  let world: EnumerableWorld;
  beforeAll(async () => {
    world = await openEnumerableWorld({ seed: 3, ...SMALL, falseAlarms: 0.01 });
  });
  afterAll(async () => {
    await world.close();
    expect(existsSync(world.folder)).toBe(false);
    expect(liveSessionLabels()).toEqual([]);
  });

  test('lists every attack once, and the reference gives them all of its probability', () => {
    expect(world.sequences.length).toBe(5 + 25 + 125);
    expect(new Set(world.sequences.map(({ tokens }) => tokens.join())).size).toBe(155);
    expect(world.logPRef.reduce((sum, logProb) => sum + Math.exp(logProb), 0)).toBeCloseTo(1, 5);
    expect(world.posterior.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 12);
    const uniform = new Float64Array(155).fill(1 / 155);
    expect(totalVariation(world.logPRef.map(Math.exp), uniform)).toBeGreaterThan(0.3);
  });

  test('the sampler writes listed attacks as often as they are scored', async () => {
    const requests = Array.from({ length: 4000 }, (_, i) => ({ stream: randomStream(9, 'draw', i), temperature: 1 }));
    const drawn = await world.attacker.sample(world.reference, requests);
    const share = new Float64Array(world.sequences.length);
    for (const attack of drawn) {
      const index = world.indexOf(attack.tokens);
      expect(world.sequences[index]?.terminated).toBe(attack.terminated);
      expect(attack.logPi).toBeCloseTo(world.logPRef[index] as number, 4);
      share[index] = (share[index] as number) + 1 / drawn.length;
    }
    const expected = world.logPRef.map(Math.exp);
    // A draw of n from p shows a TV near sum sqrt(p (1 - p) / (2 pi n)).
    const noise = expected.reduce((sum, p) => sum + Math.sqrt((p * (1 - p)) / (2 * Math.PI * drawn.length)), 0);
    expect(totalVariation(share, expected)).toBeLessThan(1.3 * noise);
  });

  test('an attack alarms with the leak of its leakiest key, else as a false alarm', () => {
    for (const [index, { tokens }] of world.sequences.entries()) {
      const held = world.keys.filter(({ first, second }) => ` ${tokens.join(' ')} `.includes(` ${first} ${second} `));
      const leak = Math.max(0.01, ...held.map((key) => key.leak));
      expect(world.alarmProbabilities[index]).toBe(leak);
      expect(world.alarmProbabilityOf(tokens)).toBe(leak);
      const key = world.keyOf(tokens);
      expect(key === undefined ? 0.01 : world.keys[key]?.leak).toBe(leak);
    }
  });

  test('the reward is the mean of the log over the outcomes, and log R adds log p_ref', async () => {
    const index = world.sequences.findIndex(({ tokens }) => world.keyOf(tokens) !== undefined);
    const attack = world.sequences[index] as (typeof world.sequences)[number];
    const leak = world.alarmProbabilities[index] as number;
    const text = world.attacker.textOf(attack.tokens);
    const [exact] = await world.reward([{ text, streamName: [] }]);
    const logS = leak * Math.log(0.95) + (1 - leak) * Math.log(0.05);
    expect(exact?.score?.logS).toBeCloseTo(logS, 12);
    expect(world.logRewards[index]).toBeCloseTo((world.logPRef[index] as number) + logS / 0.3, 12);
    const requests = Array.from({ length: 2000 }, (_, i) => ({ text, streamName: ['r', i] }));
    const sampled = await world.sampledReward(5)(requests);
    const mean = sampled.reduce((sum, { score }) => sum + (score?.logS as number), 0) / sampled.length;
    const deviation = ((Math.log(0.95) - Math.log(0.05)) * Math.sqrt((leak * (1 - leak)) / 5)) / Math.sqrt(2000);
    expect(Math.abs(mean - logS)).toBeLessThan(4 * deviation);
    expect(sampled.every(({ evidence }) => evidence.responses === 5)).toBe(true);
  });

  test('the same seed gives the same world, another seed another', async () => {
    const again = await openEnumerableWorld({ seed: 3, ...SMALL, falseAlarms: 0.01 });
    const other = await openEnumerableWorld({ seed: 4, ...SMALL, falseAlarms: 0.01 });
    await Promise.all([again.close(), other.close()]);
    expect(again.logPRef).toEqual(world.logPRef);
    expect(again.keys).toEqual(world.keys);
    expect(other.keys).not.toEqual(world.keys);
    expect(totalVariation(other.posterior, world.posterior)).toBeGreaterThan(0.3);
  });

  test('refuses tokens of no attack, too many keys, too many words', async () => {
    expect(() => world.indexOf([4, 5, 6, 7])).toThrow(/no attack of this world/);
    await expect(openEnumerableWorld({ seed: 1, words: 40 })).rejects.toThrow(/between 2 and 16/);
    await expect(openEnumerableWorld({ seed: 1, words: 3, keys: 10 })).rejects.toThrow(/at most 9/);
    await expect(openEnumerableWorld({ seed: 1, words: 16, maxTokens: 6 })).rejects.toThrow(/too many/);
  });
});
