import { describe, expect, it } from 'vitest';
import type { SentenceEncoder } from '../../../src/models/encoder/text-encoder.ts';
import { successProbability } from '../../../src/worlds/alarm-judge.ts';
import {
  drawLanguageSeeds,
  drawPlanted,
  LANGUAGE_SEEDS,
  requestsAbout,
} from '../../../src/worlds/language/language-requests.ts';
import { DEFAULT_LANGUAGE_WORLD, NEAR_MISS } from '../../../src/worlds/language/language-spec.ts';
import {
  createCentreMeter,
  fitRegions,
  placeIn,
  type Region,
  radiusAt,
  wantedRegions,
} from '../../../src/worlds/language/regions.ts';
import { PLANTABLE_STYLES, PLANTABLE_TOPICS } from '../../../src/worlds/language/topics.ts';

const draw = (prior: number, ...cosines: number[]) => ({ prior, cosines });

describe('the requests of a language world', () => {
  it('plant topics and styles by the seed, and the seeds are about a quarter of them at most', () => {
    const planted = drawPlanted({ seed: 3, regions: 12 });
    expect(planted).toEqual(drawPlanted({ seed: 3, regions: 12 }));
    expect(planted).not.toEqual(drawPlanted({ seed: 4, regions: 12 }));
    expect(new Set(planted).size).toBe(12);
    expect(planted.filter((topic) => PLANTABLE_STYLES.includes(topic))).toHaveLength(3);
    expect(drawPlanted({ seed: 3, regions: 24 })).toHaveLength(24);
    const seeds = drawLanguageSeeds(3, planted);
    expect(new Set(seeds).size).toBe(LANGUAGE_SEEDS);
    const inSeeds = planted.filter((topic) => requestsAbout(topic).some((text) => seeds.includes(text)));
    expect(inSeeds.length).toBeLessThanOrEqual(3);
    expect(inSeeds.length).toBeGreaterThan(0);
  });

  it('no two topics share a name or a phrase', () => {
    const all = [...PLANTABLE_TOPICS, ...PLANTABLE_STYLES];
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
    expect(new Set(all.map(({ phrase }) => phrase)).size).toBe(all.length);
  });
});

describe('wanted regions', () => {
  it('have priors that sum to the base rate by their success, within a factor of 2; the likelier leak less', () => {
    for (const baseRate of [0.02, 0.001]) {
      const spec = { ...DEFAULT_LANGUAGE_WORLD, baseRate };
      const wanted = wantedRegions(spec, drawPlanted(spec));
      const rate = wanted.reduce((sum, { prior, leak }) => sum + prior * successProbability('x', leak, 5, 0), 0);
      expect(rate).toBeCloseTo(baseRate, 12);
      const sorted = [...wanted].sort((a, b) => a.prior - b.prior);
      expect((sorted.at(-1)?.prior as number) / (sorted[0]?.prior as number)).toBeCloseTo(2, 6);
      expect(sorted[0]?.leak).toBeGreaterThan(sorted.at(-1)?.leak as number);
      for (const { leak } of wanted) expect(leak).toBeGreaterThanOrEqual(0.92 - 1e-9);
    }
  });
});

describe('radii', () => {
  it('hold the prior mass that is nearest to the wanted one, halfway to the next draw', () => {
    const draws = [draw(0.1, 0.5), draw(0.1, 0.9), draw(0.1, 0.7), draw(0.7, 0.1)];
    expect(radiusAt(draws, 0, 0.2)).toBeCloseTo(0.6, 12);
    expect(radiusAt(draws, 0, 0.1)).toBeCloseTo(0.8, 12);
    expect(radiusAt(draws, 0, 0.14)).toBeCloseTo(0.8, 12);
    expect(radiusAt(draws, 0, 0.16)).toBeCloseTo(0.6, 12);
    expect(radiusAt(draws, 0, 0.01)).toBeCloseTo(0.8, 12); // never empty
    expect(radiusAt(draws, 0, 2)).toBe(Number.NEGATIVE_INFINITY);
  });

  it('make regions and their near misses', () => {
    const draws = Array.from({ length: 1000 }, (_, i) => draw(0.001, i / 1000));
    const [region] = fitRegions([{ text: 'a', phrase: 'a', prior: 0.02, leak: 0.9 }], draws) as [Region];
    expect(region.radius).toBeCloseTo(0.98, 2);
    expect(region.nearRadius).toBeCloseTo(1 - 0.02 * (1 + NEAR_MISS.mass), 2);
    expect(placeIn([region], [0.99])).toEqual({ held: [0], alarm: 0.9 });
    expect(placeIn([region], [0.95])).toEqual({ held: [], alarm: NEAR_MISS.leak });
    expect(placeIn([region], [0.5])).toEqual({ held: [], alarm: 0 });
    const weaker = { ...region, leak: 0.3 };
    expect(placeIn([weaker, region], [0.99, 0.99])).toEqual({ held: [0, 1], alarm: 0.9 });
  });
});

describe('the meter of the centres', () => {
  it('asks for each text once, gives cosines, and closes the encoder', async () => {
    const asked: string[] = [];
    let isClosed = false;
    const close = async (): Promise<void> => {
      isClosed = true;
    };
    const encoder: SentenceEncoder = {
      width: 2,
      embed: async (texts) => {
        asked.push(...texts);
        return Float32Array.from(
          texts.flatMap((text) => (text === 'east' ? [1, 0] : text === 'north' ? [0, 1] : [0.6, 0.8])),
        );
      },
      close,
      [Symbol.asyncDispose]: close,
    };
    const meter = await createCentreMeter(encoder, ['east', 'north']);
    const rows = await meter.cosinesOf(['x', 'east', 'x']);
    expect(rows[0]?.[0]).toBeCloseTo(0.6, 6);
    expect(rows[1]).toEqual([1, 0]);
    expect(rows[2]).toEqual(rows[0]);
    await meter.cosinesOf(['x']);
    expect(asked).toEqual(['east', 'north', 'x', 'east']);
    await meter.close();
    expect(isClosed).toBe(true);
  });
});
