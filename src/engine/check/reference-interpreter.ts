import type { Graph, Initializer } from '../graph/builder.ts';
import type { GraphNode, Op, OpKind, OpOf, UnaryKind } from '../graph/ops.ts';
import { evaluateSize, type Size, sizeKey } from '../graph/size.ts';
import {
  applyBinary,
  castTensor,
  embedding,
  embeddingGradient,
  gelu,
  int8Linear,
  layerNorm,
  linear,
  logSoftmax,
  mapElements,
  matmul,
  rmsNorm,
  rotary,
  sigmoid,
  softmax,
  tokenLogProb,
  tokenLogProbGradient,
  unaryFunctions,
} from './reference-ops.ts';
import { concat, countOf, expand, reduceMean, reduceSum, split, type Tensor, transpose } from './reference-tensor.ts';

/** `shapes` are the node's declared output shapes with every symbol bound. */
interface ReferenceStep<O extends Op> {
  readonly op: O;
  readonly inputs: readonly Tensor[];
  readonly shapes: readonly (readonly number[])[];
  resolve(size: Size): number;
}

type ReferenceRule<K extends OpKind> = (step: ReferenceStep<OpOf<K>>) => Tensor[];

function input(step: ReferenceStep<Op>, index: number): Tensor {
  const tensor = step.inputs[index];
  if (tensor === undefined) throw new RangeError(`${step.op.kind}: input ${index} is missing`);
  return tensor;
}

function shape(step: ReferenceStep<Op>): readonly number[] {
  return step.shapes[0] as readonly number[];
}

const unary = (kind: UnaryKind) => (step: ReferenceStep<Op>) => [mapElements(input(step, 0), unaryFunctions[kind])];
const binary = (step: ReferenceStep<OpOf<'add' | 'subtract' | 'multiply' | 'divide'>>) => [
  applyBinary(step.op.kind, input(step, 0), input(step, 1), shape(step)),
];

/** Every op from its definition in float64, independent of the lowerings; a forgotten op does not compile. */
const referenceRules: { readonly [K in OpKind]: ReferenceRule<K> } = {
  add: binary,
  subtract: binary,
  multiply: binary,
  divide: binary,
  negate: unary('negate'),
  exp: unary('exp'),
  log: unary('log'),
  tanh: unary('tanh'),
  sigmoid: unary('sigmoid'),
  erf: unary('erf'),
  sqrt: unary('sqrt'),
  abs: unary('abs'),
  sign: unary('sign'),
  relu: unary('relu'),
  clip: (s) => [mapElements(input(s, 0), (x) => Math.min(Math.max(x, s.op.low), s.op.high))],
  matmul: (s) => [matmul(s.op, input(s, 0), input(s, 1), shape(s))],
  linear: (s) => [linear(s.op, s.inputs, shape(s))],
  transpose: (s) => [transpose(input(s, 0), s.op.permutation)],
  reshape: (s) => [{ shape: s.op.shape.map(s.resolve), data: input(s, 0).data }],
  expand: (s) => [expand(input(s, 0), s.op.shape.map(s.resolve))],
  concat: (s) => [concat(s.inputs, s.op.axis)],
  split: (s) => split(input(s, 0), s.op.axis, s.op.sizes.map(s.resolve)),
  reduceSum: (s) => [reduceSum(input(s, 0), s.op.axes, s.op.keepDims)],
  reduceMean: (s) => [reduceMean(input(s, 0), s.op.axes, s.op.keepDims)],
  softmax: (s) => [softmax(input(s, 0))],
  logSoftmax: (s) => [logSoftmax(input(s, 0))],
  layerNorm: (s) => layerNorm(s.op, s.inputs),
  rmsNorm: (s) => rmsNorm(s.op, s.inputs),
  gelu: (s) => [gelu(s.op, input(s, 0))],
  silu: (s) => [mapElements(input(s, 0), (x) => x * sigmoid(x))],
  embedding: (s) => [embedding(input(s, 0), input(s, 1))],
  embeddingGradient: (s) => [embeddingGradient(s.op, input(s, 0), input(s, 1))],
  tokenLogProb: (s) => tokenLogProb(input(s, 0), input(s, 1)),
  tokenLogProbGradient: (s) => [tokenLogProbGradient(input(s, 0), input(s, 1), input(s, 2))],
  rotary: (s) => [rotary(s.inputs)],
  int8Linear: (s) => [int8Linear(s.inputs, shape(s))],
  cast: (s) => [castTensor(input(s, 0), s.op.to)],
};

/** Values of the symbols, read off the fed shapes; an input axis that contradicts them is refused. */
function bindSymbols(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Map<string, number> {
  const bindings = new Map<string, number>();
  const axes = graph.inputs.flatMap(({ name, value }) => {
    const fed = feeds[name];
    if (fed?.shape.length !== value.shape.length) throw new RangeError(`input ${name}: not fed with its rank`);
    return value.shape.map((size, axis) => ({ name, size, actual: fed.shape[axis] as number }));
  });
  for (const { size, actual } of axes) {
    const symbol = /^1([A-Za-z_]\w*)$/.exec(sizeKey(size))?.[1];
    if (symbol !== undefined && !bindings.has(symbol)) bindings.set(symbol, actual);
  }
  for (const { name, size, actual } of axes) {
    const expected = evaluateSize(size, bindings);
    if (expected !== actual) throw new RangeError(`input ${name}: axis of ${actual}, expected ${expected}`);
  }
  return bindings;
}

function initializerTensor(initializer: Initializer): Tensor {
  if (initializer.kind === 'external') throw new TypeError(`initializer ${initializer.name}: external data`);
  const { data, value } = initializer;
  const resolved = value.shape.map((size) => evaluateSize(size, new Map()));
  return data instanceof Float32Array
    ? { shape: resolved, data: Float64Array.from(data) }
    : { shape: resolved, data: BigInt64Array.from(Array.from(data, BigInt)) };
}

function runNode(node: GraphNode, inputs: readonly Tensor[], resolve: (size: Size) => number): Tensor[] {
  const rule = referenceRules[node.op.kind] as (step: ReferenceStep<Op>) => Tensor[];
  const shapes = node.outputs.map((output) => output.shape.map(resolve));
  const outputs = rule({ op: node.op, inputs, shapes, resolve });
  outputs.forEach(({ shape, data }, i) => {
    const declared = shapes[i] as number[];
    if (String(shape) !== String(declared) || data.length !== countOf(declared)) {
      throw new RangeError(`${node.op.kind}: output ${i} is [${shape}] of ${data.length}, declared [${declared}]`);
    }
  });
  return outputs;
}

/** The nodes that these outputs depend on, in the graph's order. */
function nodesBehind(graph: Graph, outputs: Graph['outputs']): GraphNode[] {
  const needed = new Set(outputs.map(({ value }) => value.id));
  const nodes = graph.nodes.toReversed().filter((node) => {
    if (!node.outputs.some(({ id }) => needed.has(id))) return false;
    for (const { id } of node.inputs) needed.add(id);
    return true;
  });
  return nodes.reverse();
}

/**
 * Executes a graph in float64 and returns its outputs by name. Every computed shape is compared with the inferred one.
 * Constants are the float32 numbers that the ONNX file holds.
 *
 * @param wanted names of the outputs to compute; all of them when absent.
 * @throws RangeError when a feed, an input axis or a computed shape does not agree with the graph.
 */
export function interpret(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  wanted?: readonly string[],
): Record<string, Tensor> {
  const outputs = graph.outputs.filter(({ name }) => wanted === undefined || wanted.includes(name));
  const bindings = bindSymbols(graph, feeds);
  const resolve = (size: Size): number => evaluateSize(size, bindings);
  const tensors = new Map<number, Tensor>();
  for (const { name, value } of graph.inputs) tensors.set(value.id, feeds[name] as Tensor);
  for (const initializer of graph.initializers) tensors.set(initializer.value.id, initializerTensor(initializer));
  const tensorOf = (id: number): Tensor => {
    const tensor = tensors.get(id);
    if (tensor === undefined) throw new RangeError(`value ${id} is used before it is computed`);
    return tensor;
  };
  for (const node of wanted === undefined ? graph.nodes : nodesBehind(graph, outputs)) {
    const inputs = node.inputs.map((value) => tensorOf(value.id));
    runNode(node, inputs, resolve).forEach((tensor, i) => {
      tensors.set((node.outputs[i] as { id: number }).id, tensor);
    });
  }
  return Object.fromEntries(outputs.map(({ name, value }) => [name, tensorOf(value.id)]));
}
