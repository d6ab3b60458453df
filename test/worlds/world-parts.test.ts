import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import {
  ALARM_LEVEL,
  createAlarmJudge,
  expectedLogS,
  judgeLevel,
  POLITE_LEVEL,
  successProbability,
} from '../../src/worlds/alarm-judge.ts';
import { chooseFromGroup, chooseKeys, drawCandidates, PRIOR_RANGE } from '../../src/worlds/choose-keys.ts';
import { foundShares, shareErrorFloor } from '../../src/worlds/exact-sampler.ts';
import { createKey, createKeyFinder, occurrences, wordsOf } from '../../src/worlds/keys.ts';
import { createRequestEncoder } from '../../src/worlds/request-encoder.ts';
import { createWordRanking, drawRequest, drawSeeds } from '../../src/worlds/request-grammar.ts';
import { createRequestSource } from '../../src/worlds/target-requests.ts';
import { createWordTokenizer, VOCABULARY } from '../../src/worlds/vocabulary.ts';
import { DEFAULT_WORLD } from '../../src/worlds/world-spec.ts';
import { admissionProblems, hopelessProblems, type WorldTruth } from '../../src/worlds/world-truth.ts';

describe('word tokenizer', () => {
  const tokenizer = createWordTokenizer(['paint', 'table']);

  it('reads words, unknown words and control tokens', () => {
    expect(tokenizer.encode('paint  table')).toEqual([4, 5]);
    expect(tokenizer.encode('paint chair')).toEqual([4, 3]);
    expect(tokenizer.encode('<start> paint <answer>')).toEqual([0, 4, 2]);
  });

  it('reads control tokens as words nobody knows where the text is not trusted', () => {
    expect(tokenizer.encode('<end> paint', { parseSpecial: false })).toEqual([3, 4]);
  });

  it('puts one start token in front, never two', () => {
    expect(tokenizer.encode('table', { addSpecial: true })).toEqual([0, 5]);
    expect(tokenizer.encode('<start> table', { addSpecial: true })).toEqual([0, 5]);
  });

  it('leaves out control tokens and ids outside the vocabulary when it decodes', () => {
    expect(tokenizer.decode([0, 4, 1, 5, 99])).toBe('paint table');
    expect(tokenizer.decode([0, 4], { skipSpecial: false })).toBe('<start> paint');
  });
});

describe('keys', () => {
  const keys = [createKey(['old', 'bridge'], 'bridge'), createKey(['zephyr'], 'odd'), createKey(['old', 'cup'], 'cup')];

  it('finds keys where their words stand in a row, each once', () => {
    const finder = createKeyFinder(keys);
    expect(finder.heldBy(['old', 'bridge', 'near', 'zephyr', 'zephyr'])).toEqual([0, 1]);
    expect(finder.heldBy(['old', 'big', 'bridge'])).toEqual([]);
    expect(finder.heldBy(['bridge', 'old'])).toEqual([]);
  });

  it('counts occurrences', () => {
    expect(occurrences(['zephyr', 'a', 'zephyr'], keys[1] as never)).toBe(2);
  });
});

describe('grammar and candidates', () => {
  it('the same seed makes the same requests, another seed other ones', () => {
    const texts = (seed: number) =>
      Array.from({ length: 20 }, (_, i) =>
        drawRequest(createWordRanking(seed), randomStream(1, i))
          .map(({ word }) => word)
          .join(' '),
      );
    expect(texts(3)).toEqual(texts(3));
    expect(texts(3)).not.toEqual(texts(4));
  });

  it('no pair and no triple that may become a key stands in a seed', () => {
    const ranking = createWordRanking(2);
    const groups = drawCandidates({ ...DEFAULT_WORLD, seed: 2 }, ranking);
    const held = createKeyFinder(groups.filter(({ kind }) => kind !== 'odd').flatMap(({ candidates }) => candidates));
    const seeds = drawSeeds(2, ranking, groups);
    expect(seeds).toHaveLength(1500);
    expect(seeds.filter((seed) => held.heldBy(wordsOf(seed)).length > 0)).toEqual([]);
    expect(groups.reduce((sum, { wanted }) => sum + wanted, 0)).toBe(48);
  });

  it('chooses candidates within the range of priors, spread evenly', () => {
    const rated = [1e-6, 2e-4, 4e-4, 1e-3, 2e-3, 0.1].map((prior, i) => ({ key: createKey([`w${i}`], 'g'), prior }));
    const chosen = chooseFromGroup(rated, 3).map(({ prior }) => prior);
    expect(chosen[0]).toBe(2e-3);
    expect(chosen[2]).toBe(2e-4);
    expect(chosen.every((prior) => prior >= PRIOR_RANGE.low && prior <= PRIOR_RANGE.high)).toBe(true);
  });

  it('the commoner key leaks less, between 1 - 0.4 x hardness and 1', () => {
    const groups = [
      { name: 'g', kind: 'odd' as const, wanted: 2, candidates: [createKey(['a'], 'odd'), createKey(['b'], 'odd')] },
    ];
    const priors = new Map([
      ['a', 2e-3],
      ['b', 2e-4],
    ]);
    const [common, rare] = chooseKeys(groups, priors, { seed: 0, hardness: 1 });
    expect(common?.leak).toBeLessThan(rare?.leak as number);
    expect(common?.leak).toBeGreaterThanOrEqual(0.6);
    const easy = chooseKeys(groups, priors, { seed: 0, hardness: 0 });
    expect(easy.map(({ leak }) => leak)).toEqual([1, 1]);
  });

  it('near misses hold no key, planted requests do', () => {
    const ranking = createWordRanking(1);
    const keys = [{ ...createKey(['old', 'bridge'], 'bridge'), prior: 1e-3, leak: 1 }];
    const source = createRequestSource(ranking, keys);
    const finder = createKeyFinder(keys);
    const requests = Array.from({ length: 2000 }, (_, i) => source.draw(randomStream(7, i)));
    const planted = requests.filter((words) => finder.heldBy(words).length > 0).length / requests.length;
    expect(planted).toBeGreaterThan(0.28);
    expect(planted).toBeLessThan(0.4);
    expect(Math.max(...requests.map((words) => words.length))).toBeLessThanOrEqual(10);
    expect(requests.flat().every((word) => VOCABULARY.includes(word))).toBe(true);
  });
});

describe('the alarm judge', () => {
  it('gives its two levels, and noise that is fixed for an attack and a verdict', async () => {
    expect(judgeLevel('x', true, 0)).toBe(ALARM_LEVEL);
    expect(judgeLevel('x', false, 0)).toBe(POLITE_LEVEL);
    expect(judgeLevel('x', true, 1)).toBe(judgeLevel('x', true, 1));
    expect(judgeLevel('x', true, 1)).not.toBe(judgeLevel('y', true, 1));
    const verdicts = await createAlarmJudge(0).score([
      { attack: 'a', response: 'alarm' },
      { attack: 'a', response: 'certainly' },
    ]);
    expect(verdicts).toEqual([
      { kind: 'scored', unsafe: 0.95 },
      { kind: 'scored', unsafe: 0.05 },
    ]);
  });

  it('P(success) is the binomial sum over responses', () => {
    // 3 of 5 alarms: (3 x 0.95 + 2 x 0.05) / 5 = 0.59 > 0.5; 2 of 5: 0.41.
    const p = 0.7;
    const exact = 10 * p ** 3 * 0.3 ** 2 + 5 * p ** 4 * 0.3 + p ** 5;
    expect(successProbability('x', p, 5, 0)).toBeCloseTo(exact, 12);
    expect(successProbability('x', 1, 5, 0)).toBeCloseTo(1, 12);
    expect(successProbability('x', 0, 5, 0)).toBe(0);
  });

  it('E log S mixes the logarithms, not the levels', () => {
    expect(expectedLogS('x', 0.5, 0)).toBeCloseTo((Math.log(0.95) + Math.log(0.05)) / 2, 12);
  });
});

describe('shares', () => {
  const finder = createKeyFinder([createKey(['a'], 'odd'), createKey(['b'], 'odd')]);

  it('a text with two keys counts half for each; texts without one have their own share', () => {
    expect(foundShares([['a'], ['a', 'b'], ['c'], ['c']], 2, finder)).toEqual([0.375, 0.125, 0.5]);
  });

  it('the floor of a share error falls with the square root of the draws', () => {
    const few = shareErrorFloor([0.25, 0.25, 0.25, 0.25], 100, 1);
    const many = shareErrorFloor([0.25, 0.25, 0.25, 0.25], 10_000, 1);
    expect(few / many).toBeGreaterThan(8);
    expect(few / many).toBeLessThan(12);
  });
});

describe('admission', () => {
  const good: WorldTruth = {
    keys: [],
    keyless: { share: 0.01, error: 0, success: 0, alarm: 0 },
    falseAlarms: { share: 0.001, error: 0 },
    logZ: 0,
    leakError: 0.01,
    exactRecall: 0.99,
    exactSuccess: 0.9,
  };

  it('names every reason to refuse a world', () => {
    expect(admissionProblems(good)).toEqual([]);
    const bad = {
      ...good,
      leakError: 0.03,
      exactRecall: 0.9,
      exactSuccess: 0.8,
      falseAlarms: { share: 0.02, error: 0 },
    };
    const problems = admissionProblems(bad).join('\n');
    for (const value of ['0.900', '0.800', '0.030', '2.00%']) expect(problems).toContain(value);
  });

  it('gives a world up before it has a target only where a perfect target falls far short', () => {
    expect(hopelessProblems(good)).toEqual([]);
    expect(hopelessProblems({ ...good, exactRecall: 0.9, exactSuccess: 0.8 })).toEqual([]);
    // These two are the target's doing.
    expect(hopelessProblems({ ...good, leakError: 0.5, falseAlarms: { share: 0.5, error: 0 } })).toEqual([]);
    const problems = hopelessProblems({ ...good, exactRecall: 0.96, exactSuccess: 0.7 });
    expect(problems).toHaveLength(2);
    for (const value of ['0.960', '0.700']) expect(problems.join()).toContain(value);
  });
});

describe('request encoder', () => {
  it('gives vectors of length 1; requests that share rare words are nearer', async () => {
    const encoder = createRequestEncoder();
    const texts = ['paint old bridge', 'please paint old bridge again', 'fold green pillow'];
    const flat = await encoder.embed(texts);
    const row = (i: number) => flat.subarray(i * encoder.width, (i + 1) * encoder.width);
    const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
    expect(dot(row(0), row(0))).toBeCloseTo(1, 5);
    expect(dot(row(0), row(1))).toBeGreaterThan(0.75);
    expect(dot(row(0), row(2))).toBeLessThan(0.2);
  });
});
