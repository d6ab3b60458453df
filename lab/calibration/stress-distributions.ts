import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { chao1, missingMass } from '../../src/metrics/species-sampling.ts';

/** Shares of clusters, summing to 1: shapes in which an interval of the missing mass can fail. */
export const STRESS_DISTRIBUTIONS: Readonly<Record<string, readonly number[]>> = {
  'five equal': equal(5),
  'twenty equal': equal(20),
  '100 equal': equal(100),
  '300 equal': equal(300),
  '1000 equal': equal(1000),
  'nearly all different': equal(100_000),
  'one rare of 2%': [0.98, 0.02],
  'three rare of 1%': [0.97, 0.01, 0.01, 0.01],
  'ten rare of 1%': [0.9, ...equal(10).map((share) => share / 10)],
  'one common, half all different': [0.5, ...equal(50_000).map((share) => share / 2)],
  'zipf 0.7 of 5000': zipf(5000, 0.7),
  'zipf 1 of 500': zipf(500, 1),
  'zipf 1.5 of 10000': zipf(10_000, 1.5),
  'zipf 2 of 10000': zipf(10_000, 2),
  'geometric 0.9': normalised(Array.from({ length: 200 }, (_, k) => 0.9 ** k)),
  'geometric 0.5': normalised(Array.from({ length: 60 }, (_, k) => 0.5 ** k)),
};

function equal(count: number): number[] {
  return new Array<number>(count).fill(1 / count);
}

function zipf(count: number, exponent: number): number[] {
  return normalised(Array.from({ length: count }, (_, k) => (k + 1) ** -exponent));
}

function normalised(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

export interface StressResult {
  readonly name: string;
  readonly draws: number;
  readonly samples: number;
  /** Samples whose interval of the missing mass held it. */
  readonly massHeld: number;
  /** Samples whose Chao1 lower limit lay at or below the number of clusters. */
  readonly chaoHeld: number;
  readonly meanWidth: number;
}

/** Draws `samples` samples of `draws` from a distribution and counts how often the intervals were right. */
export function runStress(name: string, draws: number, samples: number, seed: number): StressResult {
  const shares = STRESS_DISTRIBUTIONS[name] as readonly number[];
  const ends = cumulative(shares);
  let massHeld = 0;
  let chaoHeld = 0;
  let width = 0;
  for (let sample = 0; sample < samples; sample++) {
    const sizes = drawSizes(ends, draws, randomStream(seed, 'stress', name, draws, sample));
    let missing = 1;
    let singletons = 0;
    let doubletons = 0;
    for (const [cluster, size] of sizes) {
      missing -= shares[cluster] as number;
      if (size === 1) singletons++;
      if (size === 2) doubletons++;
    }
    const counts = { draws, singletons, doubletons };
    const { low, high } = missingMass(counts) as { low: number; high: number };
    if (low <= missing + 1e-9 && missing <= high + 1e-9) massHeld++;
    if ((chao1(sizes.size, counts).low ?? 0) <= shares.length) chaoHeld++;
    width += (high - low) / samples;
  }
  return { name, draws, samples, massHeld, chaoHeld, meanWidth: width };
}

function cumulative(shares: readonly number[]): Float64Array {
  const ends = new Float64Array(shares.length);
  let sum = 0;
  for (const [i, share] of shares.entries()) {
    sum += share;
    ends[i] = sum;
  }
  return ends;
}

function drawSizes(ends: Float64Array, draws: number, stream: RandomStream): Map<number, number> {
  const sizes = new Map<number, number>();
  for (let draw = 0; draw < draws; draw++) {
    const at = stream.nextFloat() * (ends.at(-1) as number);
    let low = 0;
    let high = ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ends[middle] as number) > at) high = middle;
      else low = middle + 1;
    }
    sizes.set(low, (sizes.get(low) ?? 0) + 1);
  }
  return sizes;
}
