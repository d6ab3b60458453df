import { describe, expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { rankCorrelation, Surrogate } from '../../../src/learning/proposals/surrogate.ts';

const WIDTH = 6;

/** Unit vectors from a seeded stream. */
function embeddingAt(i: number): Float32Array {
  const stream = randomStream(7, 'embedding', i);
  const values = Array.from({ length: WIDTH }, () => stream.nextFloat() - 0.5);
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return Float32Array.from(values, (value) => value / norm);
}

/** A linear truth with an intercept. */
const truth = (embedding: Float32Array): number => 2 * (embedding[0] as number) - (embedding[3] as number) - 1;

function trained(rows: number): Surrogate {
  const surrogate = new Surrogate(1);
  for (let i = 0; i < rows; i++) surrogate.learn(embeddingAt(i), truth(embeddingAt(i)));
  return surrogate;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (values: readonly number[]): number =>
  Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)));

describe('the surrogate', () => {
  test('knows nothing at first', () => {
    expect(new Surrogate(1).predict(embeddingAt(0))).toBeUndefined();
  });

  test('learns a linear truth, and its members agree the more the more they saw', () => {
    const [few, many] = [trained(12), trained(800)];
    const errors = Array.from({ length: 50 }, (_, i) => {
      const unseen = embeddingAt(10_000 + i);
      return Math.abs(mean(many.predict(unseen) as number[]) - truth(unseen));
    });
    expect(Math.max(...errors)).toBeLessThan(0.05);
    const unseen = embeddingAt(20_000);
    expect(spread(few.predict(unseen) as number[])).toBeGreaterThan(2 * spread(many.predict(unseen) as number[]));
  });

  test('is the ridge solution: the gradient of its own loss is 0', () => {
    // One member, rebuilt from its definition: the coefficients are read off by predictions at the axes.
    const surrogate = trained(40);
    const axis = (d: number) => Float32Array.from({ length: WIDTH }, (_, i) => (i === d ? 1 : 0));
    const zero = new Float32Array(WIDTH);
    const intercepts = surrogate.predict(zero) as number[];
    const poisson = (i: number, member: number): number => {
      const stream = randomStream(1, 'bootstrap', i);
      let u = 0;
      for (let k = 0; k <= member; k++) u = stream.nextFloat();
      let count = 0;
      let mass = Math.exp(-1);
      let below = mass;
      while (u >= below && count < 5) {
        count++;
        mass /= count;
        below += mass;
      }
      return count;
    };
    for (const [member, intercept] of intercepts.entries()) {
      const beta = Array.from(
        { length: WIDTH },
        (_, d) => (surrogate.predict(axis(d)) as number[])[member] as number,
      ).map((value) => value - intercept);
      const gradient = new Array<number>(WIDTH + 1).fill(0);
      for (let i = 0; i < 40; i++) {
        const x = embeddingAt(i);
        const predicted = beta.reduce((sum, b, d) => sum + b * (x[d] as number), intercept);
        const residual = poisson(i, member) * (predicted - truth(x));
        for (let d = 0; d < WIDTH; d++) gradient[d] = (gradient[d] as number) + residual * (x[d] as number);
        gradient[WIDTH] = (gradient[WIDTH] as number) + residual;
      }
      for (const [d, b] of [...beta, intercept].entries()) expect((gradient[d] as number) + b).toBeCloseTo(0, 5);
    }
  });

  test('restored from its state, it predicts and learns the same, bit for bit', () => {
    const surrogate = trained(30);
    for (let i = 0; i < 40; i++) surrogate.observe(i, i % 7);
    const restored = new Surrogate(1, JSON.parse(JSON.stringify(surrogate.state())));
    for (const each of [surrogate, restored]) each.learn(embeddingAt(99), 0.5);
    expect(restored.predict(embeddingAt(5))).toEqual(surrogate.predict(embeddingAt(5)));
    expect(restored.correlation).toBe(surrogate.correlation);
    expect(restored.state()).toEqual(surrogate.state());
  });

  test('refuses a damaged state and another width', () => {
    const surrogate = trained(3);
    expect(() => new Surrogate(1, { ...surrogate.state(), rows: '' })).toThrow(/damaged/);
    expect(() => surrogate.learn(new Float32Array(2), 0)).toThrow(/expected 6/);
  });
});

describe('the rank correlation', () => {
  test('is 1 for the same order, -1 for the reverse, and knows ties', () => {
    expect(rankCorrelation([1, 2, 3, 10].map((value) => [value, value ** 3]))).toBeCloseTo(1, 12);
    expect(rankCorrelation([1, 2, 3, 10].map((value) => [value, -value]))).toBeCloseTo(-1, 12);
    // scipy.stats.spearmanr([1, 2, 3, 4], [1, 1, 2, 3]).statistic
    expect(
      rankCorrelation([
        [1, 1],
        [2, 1],
        [3, 2],
        [4, 3],
      ]),
    ).toBeCloseTo(0.9486832980505139, 12);
    expect(rankCorrelation([1, 2, 3].map((value) => [value, 1]))).toBeUndefined();
  });

  test('is unknown before 32 predictions', () => {
    const surrogate = new Surrogate(1);
    for (let i = 0; i < 31; i++) surrogate.observe(i, i);
    expect(surrogate.correlation).toBeUndefined();
    surrogate.observe(31, 31);
    expect(surrogate.correlation).toBeCloseTo(1, 12);
  });
});
