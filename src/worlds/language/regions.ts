import { FloodgateError } from '../../base/errors.ts';
import { randomStream } from '../../base/random.ts';
import type { SentenceEncoder } from '../../models/encoder/text-encoder.ts';
import { successProbability } from '../alarm-judge.ts';
import { LANGUAGE_RESPONSES, type LanguageSpec, NEAR_MISS } from './language-spec.ts';
import type { Topic } from './topics.ts';

/** A region before it is measured: how likely it should be, and how much it leaks. */
export interface WantedRegion {
  /** Name of its topic or style. */
  readonly text: string;
  /** The phrase whose embedding is its centre. */
  readonly phrase: string;
  /** Probability that a request of the reference lies in it, as the base rate asks. */
  readonly prior: number;
  /** Probability that a response to a request in it is an alarm. */
  readonly leak: number;
}

/** A planted region of the sentence embedding: the requests within a cosine of its centre. */
export interface Region extends WantedRegion {
  /** Least cosine of a request in it. */
  readonly radius: number;
  /** Least cosine of a near miss. */
  readonly nearRadius: number;
}

/** Priors of one world's regions lie within this factor; a likelier one leaks less, so that their masses are alike. */
const PRIOR_FACTOR = 2;
const LEAK_SPREAD = 0.08;
const LEAK_LOT = 0.3;

/**
 * The regions of a world: priors spread evenly in logarithm, in random order, with sum of prior x P(success) the base
 * rate; leak = 1 - 0.08 (0.7 u + 0.3 lot), u = 0 for the rarest and 1 for the likeliest.
 */
export function wantedRegions({ seed, baseRate, noise }: LanguageSpec, topics: readonly Topic[]): WantedRegion[] {
  const places = randomStream(seed, 'region priors').shuffle(topics.map((_, i) => i / Math.max(1, topics.length - 1)));
  const drawn = topics.map(({ name, phrase }, i) => {
    const u = places[i] as number;
    const lot = randomStream(seed, 'region leak', name).nextFloat();
    return {
      text: name,
      phrase,
      weight: PRIOR_FACTOR ** u,
      leak: 1 - LEAK_SPREAD * ((1 - LEAK_LOT) * u + LEAK_LOT * lot),
    };
  });
  const total = drawn.reduce(
    (sum, { weight, phrase, leak }) => sum + weight * successProbability(phrase, leak, LANGUAGE_RESPONSES, noise),
    0,
  );
  return drawn.map(({ text, phrase, weight, leak }) => ({ text, phrase, prior: (baseRate * weight) / total, leak }));
}

/** A draw as regions see it: the prior mass that it represents, and its cosine to every centre. */
export interface PlacedDraw {
  readonly prior: number;
  readonly cosines: readonly number[];
}

/** The least cosine of the nearest draws whose prior mass is nearest to `mass`; halfway to the next draw. */
export function radiusAt(draws: readonly PlacedDraw[], region: number, mass: number): number {
  const cosineOf = ({ cosines }: PlacedDraw): number => cosines[region] as number;
  const sorted = [...draws].sort((a, b) => cosineOf(b) - cosineOf(a));
  let held = 0;
  for (const [i, draw] of sorted.entries()) {
    const next = held + draw.prior;
    if (next >= mass) {
      const last = next - mass <= mass - held || i === 0 ? i : i - 1;
      const inside = cosineOf(sorted[last] as PlacedDraw);
      const outside = sorted[last + 1];
      return outside === undefined ? inside : (inside + cosineOf(outside)) / 2;
    }
    held = next;
  }
  return Number.NEGATIVE_INFINITY;
}

/** The wanted regions with the radii at which the draws give them their prior. */
export function fitRegions(wanted: readonly WantedRegion[], draws: readonly PlacedDraw[]): Region[] {
  return wanted.map((region, i) => ({
    ...region,
    radius: radiusAt(draws, i, region.prior),
    nearRadius: radiusAt(draws, i, region.prior * (1 + NEAR_MISS.mass)),
  }));
}

/** Where a request lies. */
export interface Placement {
  /** Regions that hold it, in their order. */
  readonly held: readonly number[];
  /** P(alarm) of one response to it: the largest leak of its regions, else that of a near miss, else 0. */
  readonly alarm: number;
}

/** @param cosines to every centre, in the order of the regions. */
export function placeIn(regions: readonly Region[], cosines: readonly number[]): Placement {
  const held = regions.flatMap(({ radius }, i) => ((cosines[i] as number) >= radius ? [i] : []));
  const isNear = regions.some(({ nearRadius }, i) => (cosines[i] as number) >= nearRadius);
  const leaks = held.map((i) => (regions[i] as Region).leak);
  return { held, alarm: leaks.reduce((most, leak) => Math.max(most, leak), isNear ? NEAR_MISS.leak : 0) };
}

/** Cosines of texts to the centres of regions, by an open encoder. */
export interface CentreMeter {
  /** A row for each text, a number for each centre. @throws FloodgateError `interrupted` between batches. */
  cosinesOf(texts: readonly string[], signal?: AbortSignal): Promise<number[][]>;
  close(): Promise<void>;
}

/** Texts whose cosines a meter remembers: the same text is asked about again and again. */
const REMEMBERED = 20_000;

/** A meter of the centres that `phrases` have. It closes the encoder when it is closed. */
export async function createCentreMeter(encoder: SentenceEncoder, phrases: readonly string[]): Promise<CentreMeter> {
  const { width } = encoder;
  const centres = await encoder.embed(phrases);
  const known = new Map<string, number[]>();
  const measure = async (texts: readonly string[], signal: AbortSignal | undefined): Promise<void> => {
    const rows = await encoder.embed(texts, signal);
    if (rows.length !== texts.length * width) throw new FloodgateError('model', 'place requests: the encoder is wrong');
    texts.forEach((text, t) => {
      const cosines = phrases.map((_, c) => {
        let dot = 0;
        for (let i = 0; i < width; i++) dot += (rows[t * width + i] as number) * (centres[c * width + i] as number);
        return dot;
      });
      known.set(text, cosines);
    });
  };
  return {
    async cosinesOf(texts, signal) {
      const fresh = [...new Set(texts)].filter((text) => !known.has(text));
      if (known.size + fresh.length > REMEMBERED) known.clear();
      const missing = [...new Set(texts)].filter((text) => !known.has(text));
      if (missing.length > 0) await measure(missing, signal);
      return texts.map((text) => known.get(text) as number[]);
    },
    close: () => encoder.close(),
  };
}
