import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ENUMERABLE_DEFAULTS,
  type EnumerableWorld,
  openEnumerableWorld,
} from '../../lab/enumerable/enumerable-world.ts';
import type { PlantedKey } from '../../src/worlds/choose-keys.ts';
import { drawFromPool, expectedRecall } from '../../src/worlds/exact-sampler.ts';
import { drawPrefixes, forcedPlaces } from '../../src/worlds/key-priors.ts';
import { createKeyFinder, wordsOf } from '../../src/worlds/keys.ts';
import { measurePosterior, type Posterior } from '../../src/worlds/posterior.ts';

/** Every sequence is listed here, so that the stratified estimate can be held against the sum. */
describe('posterior by stratified importance sampling, against enumeration', () => {
  let world: EnumerableWorld;
  let keys: PlantedKey[];
  let words: string[][];
  let measured: Posterior;
  const outcomeOf = (text: string) => {
    const tokens = world.attacker.spec.tokenizer.encode(text);
    const alarm = world.alarmProbabilityOf(tokens);
    const logS = alarm * Math.log(0.95) + (1 - alarm) * Math.log(0.05);
    return { alarm, logS, politeLogS: Math.log(0.05), success: alarm };
  };

  beforeAll(async () => {
    world = await openEnumerableWorld({ ...ENUMERABLE_DEFAULTS, seed: 5, words: 6, keys: 4, referenceUpdates: 60 });
    const { tokenizer } = world.attacker.spec;
    keys = world.keys.map(({ first, second, leak }) => {
      const text = tokenizer.decode([first, second]);
      return { text, words: text.split(' '), group: 'pair', prior: 0, leak };
    });
    words = world.sequences.map(({ tokens }) => wordsOf(tokenizer.decode(tokens)));
    measured = await measurePosterior(
      world.attacker,
      world.reference,
      keys,
      { beta: 0.3, gamma: 1, outcomes: async (texts) => texts.map(outcomeOf) },
      { seed: 1 },
    );
  }, 60_000);
  afterAll(() => world.close());

  const exactShare = (key: number | undefined): number => {
    const finder = createKeyFinder(keys);
    return world.sequences.reduce((sum, _, i) => {
      const held = finder.heldBy(words[i] as string[]);
      if (key === undefined) return held.length === 0 ? sum + (world.posterior[i] as number) : sum;
      return held.includes(key) ? sum + (world.posterior[i] as number) / held.length : sum;
    }, 0);
  };

  it('finds the share of every key and of requests without one, within its own error', () => {
    for (const [key, { share, error }] of measured.keys.entries()) {
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan(0.05);
      expect(Math.abs(share - exactShare(key))).toBeLessThan(5 * error);
    }
    expect(Math.abs(measured.keyless.share - exactShare(undefined))).toBeLessThan(5 * measured.keyless.error + 1e-6);
    const total = [...measured.keys, measured.keyless].reduce((sum, { share }) => sum + share, 0);
    expect(total).toBeCloseTo(1, 9);
  });

  it('finds log Z', () => {
    expect(Math.abs(measured.logZ - world.logZ)).toBeLessThan(0.1);
  });

  it('sees no false alarms where the target has none', () => {
    expect(Math.abs(measured.falseAlarms.share)).toBeLessThan(1e-9);
  });

  it('forces keys in with probabilities that add up to their expected occurrences', async () => {
    const prefixes = await drawPrefixes(world.attacker, world.reference, { count: 512, seed: 2, name: 'test' });
    const key = keys[0] as PlantedKey;
    const [places = []] = await forcedPlaces(world.attacker, world.reference, prefixes, [key]);
    const estimate = places.reduce((sum, { probability }) => sum + probability, 0) / prefixes.length;
    const exact = world.sequences.reduce((sum, _, i) => {
      const text = (words[i] as string[]).join(' ');
      const count = text
        .split(' ')
        .filter((word, at, all) => word === key.words[0] && all[at + 1] === key.words[1]).length;
      return sum + count * Math.exp(world.logPRef[i] as number);
    }, 0);
    expect(estimate / exact).toBeGreaterThan(0.9);
    expect(estimate / exact).toBeLessThan(1.1);
  });

  it('draws from the pool as from the posterior', () => {
    const finder = createKeyFinder(keys);
    const drawn = drawFromPool(measured.pool, 20_000, 3);
    const withFirst = drawn.filter(({ text }) => {
      const held = finder.heldBy(wordsOf(text));
      return held.length === 1 && held[0] === 0;
    }).length;
    const exact = world.sequences.reduce((sum, _, i) => {
      const held = finder.heldBy(words[i] as string[]);
      return held.length === 1 && held[0] === 0 ? sum + (world.posterior[i] as number) : sum;
    }, 0);
    expect(Math.abs(withFirst / 20_000 - exact)).toBeLessThan(0.02);
  });

  it('expects an exact sampler to find what it cannot miss', () => {
    expect(expectedRecall(measured, 1_000_000)).toBeGreaterThan(0.999);
    expect(expectedRecall(measured, 0)).toBe(0);
  });
});
