import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { checkGradients } from '../../src/engine/check/gradient-check.ts';
import type { Value } from '../../src/engine/graph/ops.ts';
import { symbolSize } from '../../src/engine/graph/size.ts';
import { causalAttention, crossEntropy, embedding, layerNorm, linear, ModelBuilder } from '../../src/engine/layers.ts';
import { parameterView } from '../../src/engine/optimizer/flat-parameters.ts';
import { float32Data, int64Tensor } from '../../src/engine/runtime/tensors.ts';
import { openTrainer, type Trainer } from '../../src/engine/trainer.ts';

const B = symbolSize('B');
const [T, V, D] = [4, 5, 6];

/** A model with every layer once; `attended` [B, T, D] is the attention's result. */
function buildModel(): { g: ModelBuilder; loss: Value } {
  const g = new ModelBuilder();
  const x = embedding(g, 'tokens', g.input('ids', 'int64', [B, T]), { rows: V, width: D });
  const attended = causalAttention(g, 'attention', layerNorm(g, 'norm', x), 2);
  g.output('attended', attended);
  const logits = linear(g, 'head', g.add(x, attended), V);
  return { g, loss: crossEntropy(g, logits, g.input('targets', 'int64', [B, T])) };
}

const batch = (ids: readonly number[]) => ({
  ids: int64Tensor(ids, [ids.length / T, T]),
  targets: int64Tensor(
    ids.map((id) => (id + 1) % V),
    [ids.length / T, T],
  ),
});

async function withTrainer(use: (trainer: Trainer) => Promise<void>): Promise<void> {
  const { g, loss } = buildModel();
  const trainer = await openTrainer(g, loss, { seed: 3 });
  try {
    await use(trainer);
  } finally {
    await trainer.close();
  }
}

describe('layers', () => {
  it('declare their parameters by name, in order, and start them as they say', () =>
    withTrainer(async ({ parameters }) => {
      expect(parameters.specs.map(({ name, shape }) => `${name} ${shape.join('x')}`)).toEqual([
        'tokens.weight 5x6',
        'norm.weight 6',
        'norm.bias 6',
        'attention.qkv.weight 18x6',
        'attention.qkv.bias 18',
        'attention.out.weight 6x6',
        'attention.out.bias 6',
        'head.weight 5x6',
        'head.bias 5',
      ]);
      expect([...parameterView(parameters, 'norm.weight')]).toEqual([1, 1, 1, 1, 1, 1]);
      expect([...parameterView(parameters, 'norm.bias')]).toEqual([0, 0, 0, 0, 0, 0]);
      const weights = [...parameterView(parameters, 'head.weight')];
      expect(Math.max(...weights.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(D));
      expect(new Set(weights).size).toBe(V * D);
    }));

  it('have right gradients, all of them, at a batch of any size', () =>
    withTrainer(async (trainer) => {
      const stream = randomStream(5, 'shake');
      const { data } = trainer.parameters;
      for (let i = 0; i < data.length; i++) data[i] = stream.nextNormal();
      for (const ids of [
        [0, 1, 2, 3],
        [4, 4, 0, 1, 2, 0, 3, 3],
      ]) {
        const { largest } = checkGradients(trainer.graph, trainer.feeds(batch(ids)), { elements: Infinity });
        expect(largest).toBeLessThan(1e-7);
      }
    }));

  it('attention looks back only: a later token changes no earlier row', () =>
    withTrainer(async (trainer) => {
      const attended = async (ids: number[]) => [...float32Data((await trainer.evaluate(batch(ids))).attended)];
      const [before, after] = [await attended([0, 1, 2, 3]), await attended([0, 1, 2, 4])];
      expect(after.slice(0, 3 * D)).toEqual(before.slice(0, 3 * D));
      expect(after.slice(3 * D)).not.toEqual(before.slice(3 * D));
    }));

  it('cross entropy of equal logits is ln V', () =>
    withTrainer(async (trainer) => {
      trainer.parameters.data.fill(0);
      expect(await trainer.differentiate(batch([0, 1, 2, 3]))).toBeCloseTo(Math.log(V), 6);
    }));

  it('refuse a width they do not know, and heads that do not divide it', () => {
    const g = new ModelBuilder();
    const x = g.input('x', 'float32', [B, T, D]);
    expect(() => linear(g, 'up', g.input('y', 'float32', [T, B]), 3)).toThrow('last axis of known width');
    expect(() => causalAttention(g, 'attention', x, 4)).toThrow('D divisible by heads');
    expect(() => causalAttention(g, 'other', g.input('z', 'float32', [B, B, D]), 2)).toThrow('known T');
  });
});

describe('trainer', () => {
  it('gives in float32 the gradient that a small step along it confirms, and steps down', () =>
    withTrainer(async (trainer) => {
      const inputs = batch([0, 1, 2, 3]);
      const before = await trainer.differentiate(inputs);
      const squares = trainer.gradient.reduce((sum, slope) => sum + slope * slope, 0);
      const { data } = trainer.parameters;
      const [origin, step] = [data.slice(), 1e-3];
      for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) - step * (trainer.gradient[i] as number);
      const after = await trainer.differentiate(inputs);
      expect((before - after) / (step * squares)).toBeCloseTo(1, 1);
      data.set(origin);
      const taken = await trainer.step(inputs, { learningRate: 1e-2, gradientClip: 1 });
      expect(taken.loss).toBe(before);
      expect(taken.gradientNorm).toBeCloseTo(Math.sqrt(squares), 5);
      expect(trainer.optimizer.step).toBe(1);
      expect(await trainer.differentiate(inputs)).toBeLessThan(before);
    }));

  it('refuses a loss that is no scalar, and a parameter that the loss does not reach', async () => {
    const g = new ModelBuilder();
    const y = linear(g, 'up', g.input('x', 'float32', [B, 2]), 3);
    await expect(openTrainer(g, y, { seed: 0 })).rejects.toThrow('expected a scalar');
    const other = new ModelBuilder();
    other.parameter('unused', [2]);
    const loss = other.reduceSum(linear(other, 'up', other.input('x', 'float32', [B, 2]), 3), [0, 1]);
    await expect(openTrainer(other, loss, { seed: 0 })).rejects.toThrow('no path');
  });

  it('evaluates without training', () =>
    withTrainer(async (trainer) => {
      const origin = trainer.parameters.data.slice();
      const outputs = await trainer.evaluate(batch([0, 1, 2, 3]));
      expect(outputs.attended?.dims).toEqual([1, T, D]);
      expect(float32Data(outputs.loss)[0]).toBe(await trainer.differentiate(batch([0, 1, 2, 3])));
      expect(trainer.parameters.data).toEqual(origin);
    }));
});
