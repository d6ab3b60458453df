import { FloodgateError } from '../../base/errors.ts';
import type { Dtype, Op, OpKind, OpOf, Value } from './ops.ts';
import { addSizes, elementCount, type Shape, type Size, shapeKey, sizesEqual } from './size.ts';

export interface OutputSpec {
  readonly shape: Shape;
  readonly dtype: Dtype;
}

type ShapeRule<K extends OpKind> = (op: OpOf<K>, inputs: readonly Value[]) => OutputSpec[];

function refuse(kind: OpKind, problem: string): never {
  throw new FloodgateError('graph', `build ${kind}: ${problem}`);
}

function input(kind: OpKind, inputs: readonly Value[], index: number): Value {
  return inputs[index] ?? refuse(kind, `input ${index} is missing, got ${inputs.length}`);
}

/** Shape of `a op b` under numpy broadcasting. A symbolic size equals only itself. */
export function broadcastShapes(kind: OpKind, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis): Size => {
    const left = a[a.length - rank + axis] ?? 1;
    const right = b[b.length - rank + axis] ?? 1;
    if (sizesEqual(left, right) || right === 1) return left;
    if (left === 1) return right;
    return refuse(kind, `shapes ${shapeKey(a)} and ${shapeKey(b)} do not broadcast`);
  });
}

const sameAsFirst = (op: Op, inputs: readonly Value[]): OutputSpec[] => {
  const x = input(op.kind, inputs, 0);
  return [{ shape: x.shape, dtype: x.dtype }];
};

const broadcast = (op: Op, inputs: readonly Value[]): OutputSpec[] => {
  const a = input(op.kind, inputs, 0);
  const b = input(op.kind, inputs, 1);
  if (a.dtype !== b.dtype) refuse(op.kind, `dtypes ${a.dtype} and ${b.dtype} differ`);
  return [{ shape: broadcastShapes(op.kind, a.shape, b.shape), dtype: a.dtype }];
};

function reducedShape(op: OpOf<'reduceSum' | 'reduceMean'>, inputs: readonly Value[]): OutputSpec[] {
  const x = input(op.kind, inputs, 0);
  const shape = x.shape.flatMap((size, axis): Size[] => {
    if (!op.axes.includes(axis)) return [size];
    return op.keepDims ? [1] : [];
  });
  return [{ shape, dtype: x.dtype }];
}

function matmulShape(op: OpOf<'matmul'>, inputs: readonly Value[]): OutputSpec[] {
  const a = input('matmul', inputs, 0).shape;
  const b = input('matmul', inputs, 1).shape;
  if (a.length < 2 || b.length < 2) refuse('matmul', `rank below 2: ${shapeKey(a)} x ${shapeKey(b)}`);
  const [m, k] = op.transposeA ? [a.at(-1), a.at(-2)] : [a.at(-2), a.at(-1)];
  const [k2, n] = op.transposeB ? [b.at(-1), b.at(-2)] : [b.at(-2), b.at(-1)];
  if (!sizesEqual(k as Size, k2 as Size)) refuse('matmul', `inner sizes differ: ${shapeKey(a)} x ${shapeKey(b)}`);
  const batch = broadcastShapes('matmul', a.slice(0, -2), b.slice(0, -2));
  return [{ shape: [...batch, m as Size, n as Size], dtype: 'float32' }];
}

function linearShape(op: OpOf<'linear'>, inputs: readonly Value[]): OutputSpec[] {
  const x = input('linear', inputs, 0).shape;
  const weight = input('linear', inputs, 1).shape;
  if (x.length !== 2 || weight.length !== 2) {
    refuse('linear', `expected [N, in] and a matrix, got ${shapeKey(x)} and ${shapeKey(weight)}`);
  }
  const [inSize, outSize] = op.layout === 'outIn' ? [weight[1], weight[0]] : [weight[0], weight[1]];
  if (!sizesEqual(x[1] as Size, inSize as Size)) {
    refuse('linear', `x ${shapeKey(x)} does not fit weight ${shapeKey(weight)} (${op.layout})`);
  }
  return [{ shape: [x[0] as Size, outSize as Size], dtype: 'float32' }];
}

function concatShape(op: OpOf<'concat'>, inputs: readonly Value[]): OutputSpec[] {
  const first = input('concat', inputs, 0);
  let along: Size = 0;
  for (const { shape } of inputs) {
    const fits =
      shape.length === first.shape.length &&
      shape.every((s, i) => i === op.axis || sizesEqual(s, first.shape[i] as Size));
    if (!fits) refuse('concat', `${shapeKey(shape)} does not fit ${shapeKey(first.shape)} on axis ${op.axis}`);
    along = addSizes(along, shape[op.axis] as Size);
  }
  return [{ shape: first.shape.map((s, i) => (i === op.axis ? along : s)), dtype: first.dtype }];
}

function splitShape(op: OpOf<'split'>, inputs: readonly Value[]): OutputSpec[] {
  const x = input('split', inputs, 0);
  const total = op.sizes.reduce<Size>(addSizes, 0);
  if (!sizesEqual(total, x.shape[op.axis] as Size))
    refuse('split', `parts do not sum to axis ${op.axis} of ${shapeKey(x.shape)}`);
  return op.sizes.map((size) => ({ shape: x.shape.map((s, i) => (i === op.axis ? size : s)), dtype: x.dtype }));
}

function reshapeShape(op: OpOf<'reshape'>, inputs: readonly Value[]): OutputSpec[] {
  const x = input('reshape', inputs, 0);
  if (!sizesEqual(elementCount(x.shape), elementCount(op.shape))) {
    refuse('reshape', `${shapeKey(x.shape)} does not hold as many elements as ${shapeKey(op.shape)}`);
  }
  return [{ shape: op.shape, dtype: x.dtype }];
}

/** Shape inference, one rule an op: a forgotten rule does not compile. */
export const shapeRules: { readonly [K in OpKind]: ShapeRule<K> } = {
  add: broadcast,
  subtract: broadcast,
  multiply: broadcast,
  divide: broadcast,
  negate: sameAsFirst,
  exp: sameAsFirst,
  log: sameAsFirst,
  tanh: sameAsFirst,
  sigmoid: sameAsFirst,
  erf: sameAsFirst,
  sqrt: sameAsFirst,
  abs: sameAsFirst,
  sign: sameAsFirst,
  relu: sameAsFirst,
  clip: sameAsFirst,
  softmax: sameAsFirst,
  logSoftmax: sameAsFirst,
  gelu: sameAsFirst,
  silu: sameAsFirst,
  rotary: sameAsFirst,
  matmul: matmulShape,
  linear: linearShape,
  transpose: (op, inputs) => {
    const x = input('transpose', inputs, 0);
    return [{ shape: op.permutation.map((axis) => x.shape[axis] as Size), dtype: x.dtype }];
  },
  reshape: reshapeShape,
  expand: (op, inputs) => {
    const x = input('expand', inputs, 0);
    broadcastShapes('expand', x.shape, op.shape);
    return [{ shape: op.shape, dtype: x.dtype }];
  },
  concat: concatShape,
  split: splitShape,
  reduceSum: reducedShape,
  reduceMean: reducedShape,
  layerNorm: (_op, inputs) => {
    const x = input('layerNorm', inputs, 0);
    const statistics: OutputSpec = { shape: [...x.shape.slice(0, -1), 1], dtype: 'float32' };
    return [{ shape: x.shape, dtype: x.dtype }, statistics, statistics];
  },
  rmsNorm: (_op, inputs) => {
    const x = input('rmsNorm', inputs, 0);
    return [
      { shape: x.shape, dtype: x.dtype },
      { shape: [...x.shape.slice(0, -1), 1], dtype: 'float32' },
    ];
  },
  embedding: (_op, inputs) => {
    const table = input('embedding', inputs, 0);
    const ids = input('embedding', inputs, 1);
    return [{ shape: [...ids.shape, table.shape[1] as Size], dtype: table.dtype }];
  },
  embeddingGradient: (op, inputs) => {
    const gradient = input('embeddingGradient', inputs, 0);
    return [{ shape: [op.rows, gradient.shape.at(-1) as Size], dtype: 'float32' }];
  },
  tokenLogProb: (_op, inputs) => {
    const logits = input('tokenLogProb', inputs, 0);
    return [
      { shape: [logits.shape[0] as Size], dtype: 'float32' },
      { shape: logits.shape, dtype: 'float32' },
    ];
  },
  tokenLogProbGradient: sameAsFirst,
  int8Linear: (_op, inputs) => {
    const x = input('int8Linear', inputs, 0).shape;
    const weight = input('int8Linear', inputs, 1).shape;
    return [{ shape: [x[0] as Size, weight[1] as Size], dtype: 'float32' }];
  },
  cast: (op, inputs) => [{ shape: input('cast', inputs, 0).shape, dtype: op.to }],
};
