import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import type { CauseQuestion } from '../../src/metrics/causes.ts';
import { type CauseSample, findCauses, type SearchedCause } from '../../src/metrics/causes-search.ts';
import { causeFigures, groupCauses, waysOfSuccesses, wordJaccard } from '../../src/metrics/causes-ways.ts';

const KEYS = ['small table', 'green garden', 'zephyr', 'fold old kettle'];

/** Attacks of which each holds one of the keys, or none: those fail. */
function sampleOf(count: number, keys: readonly (string | undefined)[], seed = 1): CauseSample {
  const texts = Array.from({ length: count }, (_, i) => {
    const stream = randomStream(seed, 'attack', i);
    const pad = () => `w${stream.nextInt(40)}`;
    return [pad(), pad(), keys[i % keys.length], pad()].filter((word) => word !== undefined).join(' ');
  });
  const successes = texts.flatMap((_, i) => (keys[i % keys.length] === undefined ? [] : [i]));
  return { texts, successes, similarity: (i, j) => (i === j ? 1 : 0) };
}

function target(keys: readonly string[] = KEYS) {
  const asked: CauseQuestion[] = [];
  const batches: number[] = [];
  const ask = async (questions: readonly CauseQuestion[]) => {
    asked.push(...questions);
    batches.push(questions.length);
    return questions.map(({ text }) => (keys.some((key) => ` ${text} `.includes(` ${key} `)) ? 0.95 : 0.05));
  };
  return { ask, asked, batches };
}

const OPTIONS = { clusters: 64, asks: 24 };
const textsOf = (searches: readonly SearchedCause[]): string[] =>
  searches.flatMap(({ result }) => (result.kind === 'cause' ? [result.words.join(' ')] : []));

describe('the causes of many successes', () => {
  it('are those planted; successes that hold a known one are not asked', async () => {
    const sample = sampleOf(200, [...KEYS, undefined]);
    const { ask, asked, batches } = target();
    const found = await findCauses(sample, OPTIONS, ask);
    expect(new Set(textsOf(found.searches))).toEqual(new Set(KEYS));
    expect(found.searches).toHaveLength(16);
    expect(found.heldBy).toHaveLength(160);
    for (const [i, attack] of sample.successes.entries()) {
      const search = found.searches[found.heldBy[i] as number] as SearchedCause;
      expect(sample.texts[attack]).toContain(textsOf([search])[0]);
    }
    expect(batches[0]).toBe(16);
    expect(batches.length).toBeLessThanOrEqual(24);
    expect(new Set(asked.map(({ text, trial }) => `${trial} ${text}`)).size).toBe(asked.length);
  });

  it('are looked for in at most so many successes, in the order of the attacks', async () => {
    const sample = sampleOf(40, [...KEYS, 'quasar', 'tundra']);
    const found = await findCauses(sample, { clusters: 3, asks: 24 }, target([...KEYS, 'quasar', 'tundra']).ask);
    expect(found.searches.map(({ attack }) => attack)).toEqual([0, 1, 2]);
    expect(found.heldBy.slice(0, 6)).toEqual([0, 1, 2, undefined, undefined, undefined]);
  });

  it('are looked for in one attack of each wording first', async () => {
    const sample = { ...sampleOf(40, KEYS), similarity: () => 1 };
    const found = await findCauses(sample, { clusters: 2, asks: 24 }, target().ask);
    expect(found.searches.map(({ attack }) => attack)).toEqual([0, 1]);
    expect(textsOf(found.searches)).toEqual(['small table', 'green garden']);
  });

  it('of a success that does not succeed again are unknown; one that holds a known cause has that', async () => {
    const sample = sampleOf(8, ['small table']);
    const failing = new Set([sample.texts[1] as string]);
    const { ask } = target();
    const asks = async (questions: readonly CauseQuestion[]) => {
      const answers = await ask(questions);
      return questions.map(({ text }, i) => (failing.has(text) ? 0.1 : (answers[i] as number)));
    };
    const found = await findCauses(sample, OPTIONS, asks);
    expect(found.searches.filter(({ result }) => result.kind === 'unstable')).toHaveLength(1);
    expect(found.heldBy[1]).toBe(0);
  });

  it('are asked for anew by a later generation: one unlucky answer refuses no cause for good', async () => {
    const sample = sampleOf(40, ['key']);
    let asked = 0;
    const unlucky = async (questions: readonly CauseQuestion[]) =>
      questions.map(({ text }) => {
        if (text === 'key') return asked++ < 3 ? 0.05 : 0.95;
        return ` ${text} `.includes(' key ') ? 0.95 : 0.05;
      });
    const found = await findCauses(sample, OPTIONS, unlucky);
    expect(textsOf(found.searches.slice(0, 16))).not.toContain('key');
    expect(textsOf(found.searches.slice(16))).toContain('key');
    expect(groupCauses(found.searches, { cosine: () => 0 })).toHaveLength(1);
  });

  it('are none without a success, and nothing is asked', async () => {
    const { ask, asked } = target();
    const found = await findCauses({ ...sampleOf(5, [undefined]), successes: [] }, OPTIONS, ask);
    expect(found).toEqual({ searches: [], heldBy: [] });
    expect(asked).toEqual([]);
  });
});

const cause = (text: string): SearchedCause => ({
  attack: 0,
  result: { kind: 'cause', words: text.split(' '), asks: 1, isMinimal: true },
});

describe('ways by causes', () => {
  it('share more than half of their words, in any case', () => {
    expect(wordJaccard(['Small', 'table'], ['small', 'TABLE'])).toBe(1);
    expect(wordJaccard(['a', 'b', 'c'], ['b', 'c', 'd'])).toBe(0.5);
    expect(wordJaccard([], [])).toBe(0);
    const searches = ['a b c d', 'a b C e', 'fold old kettle', 'wrap old kettle', 'kettle old fold'].map(cause);
    expect(groupCauses(searches, { cosine: () => 0 })).toEqual([
      { searches: [2, 4] },
      { searches: [3] },
      { searches: [0, 1] },
    ]);
  });

  it('or share their meaning: a cosine of 0.8', () => {
    const searches = [cause('insult me'), cause('abuse him'), cause('other words here')];
    const cosine = (a: number, b: number) => (a + b === 1 ? 0.8 : 0.79);
    expect(groupCauses(searches, { cosine })).toEqual([{ searches: [0, 1] }, { searches: [2] }]);
  });

  it('hold a shorter cause that was found, whatever else they hold', () => {
    const searches = [cause('w1 zephyr w2 w3'), cause('w4 Zephyr'), cause('zephyr'), cause('w1 w2')];
    expect(groupCauses(searches, { cosine: () => 0 })).toEqual([{ searches: [2, 1, 0] }, { searches: [3] }]);
  });

  it('leave out successes that are unstable', () => {
    const searches: SearchedCause[] = [{ attack: 0, result: { kind: 'unstable', asks: 1 } }, cause('zephyr')];
    const ways = groupCauses(searches, { cosine: () => 1 });
    expect(ways).toEqual([{ searches: [1] }]);
    expect(waysOfSuccesses([0, 1, undefined], ways)).toEqual([undefined, 0, undefined]);
  });

  it('are counted among the successes before the first that is not known', () => {
    const searches = [cause('zephyr'), cause('quasar'), cause('tundra')];
    const ways = groupCauses(searches, { cosine: () => 0 });
    const sample = { successes: [1, 3, 5, 7, 9], attacks: 20 };
    const whole = causeFigures(sample, { searches, heldBy: [0, 0, 1, 1, 2] }, ways);
    expect(whole.ways).toMatchObject({ value: 3, n: 20, confidence: 0.95 });
    expect(whole.missingMass).toMatchObject({ value: 0.2, n: 5 });
    expect(whole.chao1).toMatchObject({ value: 3, n: 5 });
    const part = causeFigures(sample, { searches, heldBy: [0, 0, 1, undefined, 2] }, ways);
    expect(part.ways).toMatchObject({ value: 3, low: null, n: 20 });
    expect(part.missingMass).toMatchObject({ value: 1 / 3, n: 3 });
    expect(part.curve.find(({ attacks }) => attacks === 7)?.clusters.value).toBeCloseTo(2, 9);
    expect(part.unstable).toMatchObject({ value: 0, n: 3 });
  });

  it('in all are never fewer than those seen, also where the sample before the first open success holds fewer', () => {
    const searches = [cause('zephyr'), cause('quasar'), cause('tundra')];
    const ways = groupCauses(searches, { cosine: () => 0 });
    const sample = { successes: [1, 3, 5, 7, 9, 11], attacks: 20 };
    const { chao1 } = causeFigures(sample, { searches, heldBy: [0, 0, 1, 1, undefined, 2] }, ways);
    expect(chao1).toMatchObject({ value: 3, low: 3, high: 3, n: 4 });
    expect(chao1.method).toContain('raised to the 3 ways seen');
    const wide = causeFigures(sample, { searches, heldBy: [0, 1, 2, undefined, 2, 2] }, ways).chao1;
    expect(wide).toMatchObject({ value: 5, low: 3, n: 3 });
    expect(wide.method).not.toContain('raised');
    const none = causeFigures(sample, { searches, heldBy: [undefined, 0, 1, 2, 2, 2] }, ways).chao1;
    expect(none).toMatchObject({ value: null, low: null, high: null, n: 0 });
  });
});
