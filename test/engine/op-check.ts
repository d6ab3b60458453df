import * as ort from 'onnxruntime-node';
import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { checkGradients, gradientOutput, relativeError } from '../../src/engine/check/gradient-check.ts';
import { interpret } from '../../src/engine/check/reference-interpreter.ts';
import {
  countOf,
  floatsOf,
  floatTensor,
  integersOf,
  integerTensor,
  type Tensor,
} from '../../src/engine/check/reference-tensor.ts';
import { backward } from '../../src/engine/graph/backward.ts';
import { type Graph, GraphBuilder } from '../../src/engine/graph/builder.ts';
import type { Dtype, Value } from '../../src/engine/graph/ops.ts';
import { evaluateSize, type Shape } from '../../src/engine/graph/size.ts';
import type { Device } from '../../src/engine/runtime/device.ts';
import { openSession } from '../../src/engine/runtime/session.ts';

export interface OpInput {
  readonly shape: Shape;
  /** float32 unless stated; float inputs are differentiated by. */
  readonly dtype?: Exclude<Dtype, 'float16'>;
  /** False for a float input that stays frozen. */
  readonly trainable?: boolean;
  /** One number; standard normal unless stated. Rounded to float32, so that every engine gets the same. */
  readonly draw?: (stream: RandomStream, index: number) => number;
}

/** One small graph around an op, with the sizes its symbols take in the test. */
export interface OpCase {
  readonly name: string;
  readonly inputs: Readonly<Record<string, OpInput>>;
  readonly symbols: Readonly<Record<string, number>>;
  /** The graph's outputs. */
  build(g: GraphBuilder, x: Readonly<Record<string, Value>>): readonly Value[];
  /** Indices of the outputs a gradient enters at; `[]` for a forward-only case. */
  readonly seeded: readonly number[];
}

interface OpCaseSpec<K extends string> {
  readonly inputs: Readonly<Record<K, OpInput>>;
  readonly symbols?: Readonly<Record<string, number>>;
  readonly build: (g: GraphBuilder, x: Readonly<Record<K, Value>>) => Value | readonly Value[];
  readonly seeded?: readonly number[];
}

/** A case whose `build` sees its inputs by name; the first output is seeded unless stated. */
export function opCase<K extends string>(name: string, spec: OpCaseSpec<K>): OpCase {
  const { inputs, symbols = {}, seeded = [0] } = spec;
  return { name, inputs, symbols, seeded, build: (g, x) => [spec.build(g, x as Record<K, Value>)].flat() };
}

/** A case's forward graph, and the same graph with the reverse sweep and its gradients as further outputs. */
export interface BuiltCase {
  readonly forward: Graph;
  readonly full: Graph;
  /** `full` with the seeded sum of outputs as `loss`, and the gradients by the names that `checkGradients` expects. */
  readonly checked: Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
  readonly trainable: readonly string[];
}

function drawTensor(input: OpInput, shape: readonly number[], stream: RandomStream): Tensor {
  const isInteger = input.dtype !== undefined && input.dtype !== 'float32';
  const draw = input.draw ?? ((s: RandomStream) => s.nextNormal());
  const numbers = Array.from({ length: countOf(shape) }, (_, i) => Math.fround(draw(stream, i)));
  return isInteger ? integerTensor(shape, numbers) : floatTensor(shape, numbers);
}

export function buildCase(testCase: OpCase): BuiltCase {
  const g = new GraphBuilder();
  const bindings = new Map(Object.entries(testCase.symbols));
  const feeds: Record<string, Tensor> = {};
  const values: Record<string, Value> = {};
  const trainable: string[] = [];
  for (const [name, input] of Object.entries(testCase.inputs)) {
    const { dtype = 'float32', shape } = input;
    const isTrainable = dtype === 'float32' && (input.trainable ?? true) && testCase.seeded.length > 0;
    if (isTrainable) trainable.push(name);
    values[name] = g.input(name, dtype, shape, { trainable: isTrainable });
    const resolved = shape.map((size) => evaluateSize(size, bindings));
    feeds[name] = drawTensor(input, resolved, randomStream(11, testCase.name, name));
  }
  const outputs = testCase.build(g, values);
  outputs.forEach((value, i) => {
    g.output(`y${i}`, value);
  });
  const forward = g.build();
  const seeds = testCase.seeded.map((i) => {
    const output = outputs[i] as Value;
    const shape = output.shape.map((size) => evaluateSize(size, bindings));
    feeds[`seed${i}`] = drawTensor({ shape }, shape, randomStream(12, testCase.name, i));
    return { output, gradient: g.input(`seed${i}`, 'float32', output.shape) };
  });
  const parameters = trainable.map((name) => values[name] as Value);
  const gradients = seeds.length > 0 ? backward(g, seeds, parameters) : [];
  gradients.forEach((gradient, i) => {
    g.output(`d_${trainable[i]}`, gradient);
  });
  const full = g.build();
  return { forward, full, checked: withLoss(g, seeds, trainable, gradients), feeds, trainable };
}

function withLoss(
  g: GraphBuilder,
  seeds: readonly { readonly output: Value; readonly gradient: Value }[],
  trainable: readonly string[],
  gradients: readonly Value[],
): Graph {
  const terms = seeds.map(({ output, gradient }) => {
    const product = g.multiply(output, gradient);
    return g.reduceSum(
      product,
      product.shape.map((_, axis) => axis),
    );
  });
  if (terms.length > 0)
    g.output(
      'loss',
      terms.reduce((sum, term) => g.add(sum, term)),
    );
  gradients.forEach((gradient, i) => {
    g.output(gradientOutput(trainable[i] as string), gradient);
  });
  return g.build();
}

export interface CheckErrors {
  /** By output or gradient name. */
  readonly [name: string]: number;
}

/** Each gradient in float64 against central differences: every element, and three random directions. */
export function gradientErrors(testCase: OpCase): CheckErrors {
  const { checked, feeds } = buildCase(testCase);
  return checkGradients(checked, ortFeeds(checked, feeds), { elements: Infinity, seed: 13 }).errors;
}

function toOrt(dtype: Dtype, tensor: Tensor): ort.Tensor {
  switch (dtype) {
    case 'float32':
      return new ort.Tensor('float32', Float32Array.from(floatsOf(tensor)), tensor.shape);
    case 'int64':
      return new ort.Tensor('int64', BigInt64Array.from(integersOf(tensor).map(BigInt)), tensor.shape);
    case 'int32':
      return new ort.Tensor('int32', Int32Array.from(integersOf(tensor)), tensor.shape);
    case 'int8':
      return new ort.Tensor('int8', Int8Array.from(integersOf(tensor)), tensor.shape);
    case 'float16':
      throw new TypeError('feed float16: not supported by the reference');
    default:
      return dtype satisfies never;
  }
}

function ortFeeds(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Record<string, ort.Tensor> {
  return Object.fromEntries(graph.inputs.map(({ name, value }) => [name, toOrt(value.dtype, feeds[name] as Tensor)]));
}

/** Runs a graph in ONNX Runtime as the engine does (fp32; on the CPU unless another device is named). */
export async function runOnnx(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  device: Device = 'cpu',
): Promise<Record<string, { shape: readonly number[]; data: number[] }>> {
  await using session = await openSession(graph, { device, threads: 1, label: 'case' });
  const results = await session.run(ortFeeds(graph, feeds));
  return Object.fromEntries(
    Object.entries(results).map(([name, tensor]) => [
      name,
      { shape: tensor.dims, data: Array.from(tensor.data as ArrayLike<number | bigint>, Number) },
    ]),
  );
}

/** Every output of ONNX Runtime, gradients included, against the interpreter; Infinity where a shape differs. */
export async function onnxErrors(testCase: OpCase, device?: Device): Promise<CheckErrors> {
  const built = buildCase(testCase);
  const expected = interpret(built.full, built.feeds);
  const actual = await runOnnx(built.full, built.feeds, device);
  return Object.fromEntries(
    Object.entries(expected).map(([name, tensor]) => {
      const got = actual[name];
      const numbers = Array.from(tensor.data as ArrayLike<number | bigint>, Number);
      const isSameShape = String(got?.shape) === String(tensor.shape);
      return [name, got !== undefined && isSameShape ? relativeError(got.data, numbers) : Infinity];
    }),
  );
}
