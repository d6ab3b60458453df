import { expect, test } from 'vitest';
import { checkGradients } from '../../src/engine/check/gradient-check.ts';
import { type Graph, GraphBuilder } from '../../src/engine/graph/builder.ts';
import type { Value } from '../../src/engine/graph/ops.ts';
import { float32Tensor } from '../../src/engine/runtime/tensors.ts';

/** loss = sum x^2, whose gradient is 2 x; `gradient` says what the graph claims it to be. */
function squares(gradient: (g: GraphBuilder, x: Value) => Value): Graph {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [3], { trainable: true });
  g.output('loss', g.reduceSum(g.multiply(x, x), [0]));
  g.output('gradient:x', gradient(g, x));
  return g.build();
}

const x = float32Tensor(Float32Array.of(1, -2, 0.5), [3]);
const right = (g: GraphBuilder, value: Value): Value => g.multiply(value, g.scalar(2));

test('a right gradient has no error worth the name, a wrong factor its own size', () => {
  expect(checkGradients(squares(right), { x }).largest).toBeLessThan(1e-11);
  const wrong = checkGradients(
    squares((g, value) => g.multiply(value, g.scalar(2.5))),
    { x },
  );
  expect(wrong.errors.x).toBeCloseTo(0.25, 9);
  expect(wrong.largest).toBeGreaterThanOrEqual(0.25);
});

test('one checked element is the one of the largest gradient, and no element leaves the directions', () => {
  const oneWrong = squares((g, value) => g.multiply(value, g.constant('float32', [3], Float32Array.of(2, 3, 2))));
  expect(checkGradients(oneWrong, { x }, { elements: 1, directions: 0 }).errors).toEqual({
    x: expect.closeTo(0.5, 9),
  });
  const along = checkGradients(oneWrong, { x }, { elements: 0, directions: 2 }).errors;
  expect(Object.keys(along)).toEqual(['x', 'direction 0', 'direction 1']);
  expect(along['direction 0']).toBeGreaterThan(1e-3);
});

test('a gradient that is not a number is an error without bound', () => {
  const missing = squares((g, value) => g.unary('sqrt', value));
  const { errors, largest } = checkGradients(missing, { x }, { directions: 1 });
  expect(errors).toEqual({ x: Infinity, 'direction 0': Infinity });
  expect(largest).toBe(Infinity);
});

test('refuses a graph without a loss or without the gradient of a named parameter', () => {
  expect(() => checkGradients(squares(right), { x }, { loss: 'energy' })).toThrow('no output energy');
  expect(() => checkGradients(squares(right), { x }, { parameters: ['y'] })).toThrow('no output gradient:y');
});
