import { expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { checkGradients, gradientOutput } from '../../src/engine/check/gradient-check.ts';
import { backward } from '../../src/engine/graph/backward.ts';
import { GraphBuilder } from '../../src/engine/graph/builder.ts';
import type { GraphNode, Value } from '../../src/engine/graph/ops.ts';
import { float32Tensor } from '../../src/engine/runtime/tensors.ts';

const ROWS = 2;
const WIDTH = 3;
const INNER = 4;
const LAYERS = 2;

/** Gated layers as Llama has them, and their reverse sweep: norm, silu(gate) * up, a projection back, a residual. */
function gatedLayers(norm: 'rms' | 'layer') {
  const g = new GraphBuilder();
  const trained = new Map<string, Value>();
  const feeds: Record<string, ReturnType<typeof float32Tensor>> = {};
  const stream = randomStream(5, 'recall');
  const input = (name: string, shape: readonly number[], trainable: boolean): Value => {
    const value = g.input(name, 'float32', shape, { trainable });
    const size = shape.reduce((product, axis) => product * axis, 1);
    feeds[name] = float32Tensor(
      Float32Array.from({ length: size }, () => stream.nextNormal()),
      shape,
    );
    if (trainable) trained.set(name, value);
    return value;
  };
  const train = (name: string, ...shape: readonly number[]): Value => input(name, shape, true);
  let x = input('x', [ROWS, WIDTH], false);
  for (let layer = 0; layer < LAYERS; layer++) {
    const normed =
      norm === 'rms'
        ? g.rmsNorm(x, train(`norm${layer}`, WIDTH), 1e-5)
        : g.layerNorm(x, train(`norm${layer}`, WIDTH), train(`shift${layer}`, WIDTH), 1e-5);
    const gate = g.linear(normed, train(`gate${layer}`, INNER, WIDTH), 'outIn');
    const up = g.linear(normed, train(`up${layer}`, INNER, WIDTH), 'outIn');
    x = g.add(x, g.linear(g.multiply(g.silu(gate), up), train(`down${layer}`, WIDTH, INNER), 'outIn'));
  }
  const loss = g.reduceSum(g.multiply(x, x), [0, 1]);
  const forward = [...g.nodes];
  g.output('loss', loss);
  const seed = { output: loss, gradient: g.scalar(1) };
  const names = [...trained.keys()];
  const gradients = backward(g, [seed], [...trained.values()]);
  for (const [i, gradient] of gradients.entries()) g.output(gradientOutput(names[i] as string), gradient);
  return { g, feeds, forward, swept: g.nodes.slice(forward.length), seed: seed.gradient, gradients };
}

const firstOutputs = (nodes: readonly GraphNode[], kind: string): number[] =>
  nodes.filter(({ op }) => op.kind === kind).map(({ outputs }) => outputs[0]?.id as number);

test.each(['rms', 'layer'] as const)('what the sweep computes again gives the right gradients, %s norm', (norm) => {
  const { g, feeds } = gatedLayers(norm);
  expect(checkGradients(g.build(), feeds, { elements: Infinity, seed: 3 }).largest).toBeLessThan(1e-5);
});

test.each(['rms', 'layer'] as const)(
  'the sweep keeps no output of a norm, a silu or their product, %s norm',
  (norm) => {
    const { forward, swept } = gatedLayers(norm);
    const gated = forward.filter(({ op, inputs }) => op.kind === 'multiply' && inputs[0]?.id !== inputs[1]?.id);
    const spared = [
      ...firstOutputs(forward, norm === 'rms' ? 'rmsNorm' : 'layerNorm'),
      ...firstOutputs(forward, 'silu'),
      ...firstOutputs(gated, 'multiply'),
    ];
    expect(spared).toHaveLength(3 * LAYERS);
    const read = new Set(swept.flatMap(({ inputs }) => inputs.map(({ id }) => id)));
    expect(spared.filter((id) => read.has(id))).toEqual([]);
  },
);

test('factors come before the gradients that they meet, and the last layer has the last gradients', () => {
  const { swept, seed, gradients } = gatedLayers('rms');
  const dependent = new Set([seed.id]);
  const isDependent = swept.map(({ inputs, outputs }) => {
    const depends = inputs.some(({ id }) => dependent.has(id));
    if (depends) for (const { id } of outputs) dependent.add(id);
    return depends;
  });
  const first = isDependent.indexOf(true);
  expect(first).toBeGreaterThan(0);
  expect(isDependent.slice(first).every(Boolean)).toBe(true);
  const places = gradients.map(({ id }) => swept.findIndex(({ outputs }) => outputs[0]?.id === id));
  const perLayer = gradients.length / LAYERS;
  expect(Math.min(...places.slice(perLayer))).toBeGreaterThan(Math.max(...places.slice(0, perLayer)));
});
