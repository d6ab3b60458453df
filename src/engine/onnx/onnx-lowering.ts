import type { GraphNode, Op, OpKind, OpOf, Value } from '../graph/ops.ts';
import type { Shape, Size } from '../graph/size.ts';
import type { OnnxDialect } from './onnx-dialect.ts';
import { type Attribute, dataTypeNumber, type OnnxNode } from './onnx-fields.ts';

/** The tools of a lowering: names of the node's tensors, and small int64 tensors computed in the graph. */
export interface LoweringContext {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly node: GraphNode;
  /** Whether a node or an output of the graph reads this output of the node. */
  isUsed(output: number): boolean;
  readonly dialect: OnnxDialect;
  emit(node: OnnxNode): void;
  /** A fresh tensor name. */
  fresh(): string;
  /** A fresh name of a tensor as large as this one: the runtime may give it the buffer of such a one that is done. */
  freshLike(value: Value): string;
  /** The name of an int64 vector holding `sizes`, symbols measured from the graph's inputs. */
  sizesVector(sizes: readonly Size[]): string;
  /** The name of a constant int64 vector. */
  int64(values: readonly number[]): string;
  float32(value: number): string;
}

type Lowering<K extends OpKind> = (op: OpOf<K>, context: LoweringContext) => void;

const MICROSOFT = 'com.microsoft';

function direct(type: string, attributes: Readonly<Record<string, Attribute>> = {}, domain?: string) {
  return (_op: Op, { inputs, outputs, emit }: LoweringContext): void =>
    emit({ type, inputs, outputs, attributes, ...(domain === undefined ? {} : { domain }) });
}

/** A reshape target: constant where static, one `-1` where exactly one size is symbolic, else measured. */
function reshapeTarget(shape: Shape, context: LoweringContext): string {
  const symbolic = shape.filter((size) => typeof size !== 'number').length;
  if (symbolic <= 1) return context.int64(shape.map((size) => (typeof size === 'number' ? size : -1)));
  return context.sizesVector(shape);
}

function lowerReduce(type: 'ReduceSum' | 'ReduceMean') {
  return (op: OpOf<'reduceSum' | 'reduceMean'>, context: LoweringContext): void =>
    context.emit({
      type,
      inputs: [context.inputs[0] as string, context.int64(op.axes)],
      outputs: context.outputs,
      attributes: { keepdims: { int: op.keepDims ? 1 : 0 } },
    });
}

/** MatMul with a Transpose before it and a Mul after it, where they are needed. */
function lowerPlainMatmul(op: OpOf<'matmul'>, { node, inputs, outputs, emit, fresh, float32 }: LoweringContext): void {
  const isTransposed = [op.transposeA, op.transposeB];
  const factors = inputs.map((input, i) => {
    if (isTransposed[i] !== true) return input;
    const rank = node.inputs[i]?.shape.length ?? 0;
    const axes = Array.from({ length: rank }, (_, axis) => axis);
    const output = fresh();
    const perm = [...axes.slice(0, -2), rank - 1, rank - 2];
    emit({ type: 'Transpose', inputs: [input], outputs: [output], attributes: { perm: { ints: perm } } });
    return output;
  });
  if (op.scale === 1) {
    emit({ type: 'MatMul', inputs: factors, outputs });
    return;
  }
  const product = fresh();
  emit({ type: 'MatMul', inputs: factors, outputs: [product] });
  emit({ type: 'Mul', inputs: [product, float32(op.scale)], outputs });
}

const lowerMatmul: Lowering<'matmul'> = (op, context) => {
  const { inputs, outputs, emit, dialect } = context;
  const isPlain = !op.transposeA && !op.transposeB && op.scale === 1;
  if (isPlain || !dialect.hasFusedMatmul) {
    lowerPlainMatmul(op, context);
    return;
  }
  emit({
    type: 'FusedMatMul',
    inputs,
    outputs,
    domain: MICROSOFT,
    attributes: {
      transA: { int: op.transposeA ? 1 : 0 },
      transB: { int: op.transposeB ? 1 : 0 },
      alpha: { float: op.scale },
    },
  });
};

/** log softmax(x) over the last axis: x - max x - log sum exp(x - max x). */
function emitLogSoftmax(x: string, output: string, { emit, fresh, int64, dialect }: LoweringContext): void {
  if (dialect.hasLogSoftmax) {
    emit({ type: 'LogSoftmax', inputs: [x], outputs: [output], attributes: { axis: { int: -1 } } });
    return;
  }
  const [largest, shifted, powers, sum, log] = Array.from({ length: 5 }, fresh) as [
    string,
    string,
    string,
    string,
    string,
  ];
  const attributes = { keepdims: { int: 1 } };
  emit({ type: 'ReduceMax', inputs: [x, int64([-1])], outputs: [largest], attributes });
  emit({ type: 'Sub', inputs: [x, largest], outputs: [shifted] });
  emit({ type: 'Exp', inputs: [shifted], outputs: [powers] });
  emit({ type: 'ReduceSum', inputs: [powers, int64([-1])], outputs: [sum], attributes });
  emit({ type: 'Log', inputs: [sum], outputs: [log] });
  emit({ type: 'Sub', inputs: [shifted, log], outputs: [output] });
}

const lowerTokenLogProb: Lowering<'tokenLogProb'> = (_op, context) => {
  const [logits, ids] = context.inputs as [string, string];
  const [picked, all] = context.outputs as [string, string];
  const column = context.fresh();
  const gathered = context.fresh();
  emitLogSoftmax(logits, all, context);
  context.emit({ type: 'Unsqueeze', inputs: [ids, context.int64([1])], outputs: [column] });
  context.emit({
    type: 'GatherElements',
    inputs: [all, column],
    outputs: [gathered],
    attributes: { axis: { int: 1 } },
  });
  context.emit({ type: 'Squeeze', inputs: [gathered, context.int64([1])], outputs: [picked] });
};

const lowerTokenLogProbGradient: Lowering<'tokenLogProbGradient'> = (_op, context) => {
  const [logProbs, ids, gradient] = context.inputs as [string, string, string];
  const [idColumn, gradientColumn, negated] = Array.from({ length: 3 }, context.fresh) as [string, string, string];
  const [output] = context.node.outputs as [Value];
  const [probabilities, spread] = [context.freshLike(output), context.freshLike(output)];
  context.emit({ type: 'Exp', inputs: [logProbs], outputs: [probabilities] });
  context.emit({ type: 'Unsqueeze', inputs: [ids, context.int64([1])], outputs: [idColumn] });
  context.emit({ type: 'Unsqueeze', inputs: [gradient, context.int64([1])], outputs: [gradientColumn] });
  context.emit({ type: 'Neg', inputs: [gradientColumn], outputs: [negated] });
  context.emit({ type: 'Mul', inputs: [probabilities, negated], outputs: [spread] });
  context.emit({
    type: 'ScatterElements',
    inputs: [spread, idColumn, gradientColumn],
    outputs: context.outputs,
    attributes: { axis: { int: 1 }, reduction: { text: 'add' } },
  });
};

const lowerEmbeddingGradient: Lowering<'embeddingGradient'> = (op, context) => {
  const [gradient, ids] = context.inputs as [string, string];
  const width = context.node.outputs[0]?.shape[1] as Size;
  const [zeros, flatGradient, flatIds] = [context.fresh(), context.fresh(), context.fresh()];
  context.emit({
    type: 'Expand',
    inputs: [context.float32(0), context.sizesVector([op.rows, width])],
    outputs: [zeros],
  });
  context.emit({ type: 'Reshape', inputs: [gradient, context.sizesVector([-1, width])], outputs: [flatGradient] });
  context.emit({ type: 'Reshape', inputs: [ids, context.int64([-1, 1])], outputs: [flatIds] });
  context.emit({
    type: 'ScatterND',
    inputs: [zeros, flatIds, flatGradient],
    outputs: context.outputs,
    attributes: { reduction: { text: 'add' } },
  });
};

/** The runtime's number of a type that no value of our graphs has. */
const UINT8 = 2;

/**
 * Symmetric activations with one scale a row: a row's result does not depend on its neighbours. They are shifted by 128
 * to uint8, because the runtime's product of signed activations is ten times slower.
 */
function lowerInt8Linear(context: LoweringContext): void {
  const [x, weight, weightScales] = context.inputs as [string, string, string];
  const chain = (type: string, inputs: readonly string[], extra: Partial<OnnxNode> = {}): string => {
    const output = context.fresh();
    context.emit({ type, inputs, outputs: [output], ...extra });
    return output;
  };
  const toUint8 = { attributes: { to: { int: UINT8 } } };
  const magnitudes = chain('ReduceMax', [chain('Abs', [x]), context.int64([-1])], {
    attributes: { keepdims: { int: 0 } },
  });
  const rowScale = chain('Div', [chain('Max', [magnitudes, context.float32(1e-12)]), context.float32(127)]); // [N]
  const zero = chain('Cast', [context.float32(128)], toUint8);
  // One for all products of so many rows. WebGPU cannot expand uint8.
  const rows = context.sizesVector([context.node.inputs[0]?.shape[0] as Size]);
  const zeros = chain('Cast', [chain('Expand', [context.float32(128), rows])], toUint8);
  const quantised = chain('QuantizeLinear', [x, rowScale, zeros], { attributes: { axis: { int: 0 } } });
  const product = chain('MatMulIntegerToFloat', [quantised, weight, context.float32(1), weightScales, zero], {
    domain: MICROSOFT,
  });
  const column = chain('Unsqueeze', [rowScale, context.int64([-1])]);
  context.emit({ type: 'Mul', inputs: [product, column], outputs: context.outputs });
}

const lowerRmsNorm: Lowering<'rmsNorm'> = (op, { inputs, outputs, emit, fresh, isUsed, int64, float32, dialect }) => {
  const attributes = { axis: { int: -1 }, epsilon: { float: op.epsilon } };
  const type = 'SimplifiedLayerNormalization';
  if (dialect.hasInverseRms) {
    emit({ type, inputs, outputs, attributes });
    return;
  }
  const [x, [normed, inverse]] = [inputs[0] as string, outputs as [string, string]];
  emit({ type, inputs, outputs: [normed], attributes });
  if (!isUsed(1)) return;
  const [square, mean, shifted, root] = [fresh(), fresh(), fresh(), fresh()];
  emit({ type: 'Mul', inputs: [x, x], outputs: [square] });
  emit({ type: 'ReduceMean', inputs: [square, int64([-1])], outputs: [mean], attributes: { keepdims: { int: 1 } } });
  emit({ type: 'Add', inputs: [mean, float32(op.epsilon)], outputs: [shifted] });
  emit({ type: 'Sqrt', inputs: [shifted], outputs: [root] });
  emit({ type: 'Div', inputs: [float32(1), root], outputs: [inverse] });
};

/** IR op to ONNX nodes, one rule an op. */
export const lowerings: { readonly [K in OpKind]: Lowering<K> } = {
  add: direct('Add'),
  subtract: direct('Sub'),
  multiply: direct('Mul'),
  divide: direct('Div'),
  negate: direct('Neg'),
  exp: direct('Exp'),
  log: direct('Log'),
  tanh: direct('Tanh'),
  sigmoid: direct('Sigmoid'),
  erf: direct('Erf'),
  sqrt: direct('Sqrt'),
  abs: direct('Abs'),
  sign: direct('Sign'),
  relu: direct('Relu'),
  clip: (op, context) =>
    context.emit({
      type: 'Clip',
      inputs: [context.inputs[0] as string, context.float32(op.low), context.float32(op.high)],
      outputs: context.outputs,
    }),
  matmul: lowerMatmul,
  linear: (op, { inputs, outputs, emit }) =>
    emit({ type: 'Gemm', inputs, outputs, attributes: { transB: { int: op.layout === 'outIn' ? 1 : 0 } } }),
  transpose: (op, { inputs, outputs, emit }) =>
    emit({ type: 'Transpose', inputs, outputs, attributes: { perm: { ints: op.permutation } } }),
  reshape: (op, context) =>
    context.emit({
      type: 'Reshape',
      inputs: [context.inputs[0] as string, reshapeTarget(op.shape, context)],
      outputs: context.outputs,
      attributes: { allowzero: { int: 1 } }, // a size of 0 is a size, not "as before": an empty prefix is legal
    }),
  expand: (op, context) =>
    context.emit({
      type: 'Expand',
      inputs: [context.inputs[0] as string, context.sizesVector(op.shape)],
      outputs: context.outputs,
    }),
  concat: (op, { inputs, outputs, emit }) =>
    emit({ type: 'Concat', inputs, outputs, attributes: { axis: { int: op.axis } } }),
  split: (op, context) =>
    context.emit({
      type: 'Split',
      inputs: [context.inputs[0] as string, context.sizesVector(op.sizes)],
      outputs: context.outputs,
      attributes: { axis: { int: op.axis } },
    }),
  reduceSum: lowerReduce('ReduceSum'),
  reduceMean: lowerReduce('ReduceMean'),
  softmax: direct('Softmax', { axis: { int: -1 } }),
  logSoftmax: (_op, context) => emitLogSoftmax(context.inputs[0] as string, context.outputs[0] as string, context),
  layerNorm: (op, { inputs, outputs, emit }) =>
    emit({
      type: 'LayerNormalization',
      inputs,
      outputs,
      attributes: { axis: { int: -1 }, epsilon: { float: op.epsilon } },
    }),
  rmsNorm: lowerRmsNorm,
  gelu: (op, { inputs, outputs, emit }) =>
    emit(
      op.approximation === 'tanh'
        ? { type: 'FastGelu', inputs, outputs, domain: MICROSOFT }
        : { type: 'Gelu', inputs, outputs, domain: MICROSOFT },
    ),
  silu: direct('QuickGelu', { alpha: { float: 1 } }, MICROSOFT),
  embedding: direct('Gather', { axis: { int: 0 } }),
  embeddingGradient: lowerEmbeddingGradient,
  tokenLogProb: lowerTokenLogProb,
  tokenLogProbGradient: lowerTokenLogProbGradient,
  rotary: direct('RotaryEmbedding', { interleaved: { int: 0 } }, MICROSOFT),
  int8Linear: (_op, context) => lowerInt8Linear(context),
  cast: (op, { inputs, outputs, emit }) =>
    emit({ type: 'Cast', inputs, outputs, attributes: { to: { int: dataTypeNumber(op.to) } } }),
};
