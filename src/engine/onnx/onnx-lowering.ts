import type { GraphNode, Op, OpKind, OpOf } from '../graph/ops.ts';
import type { Shape, Size } from '../graph/size.ts';
import { type Attribute, dataTypeNumber, type OnnxNode } from './onnx-fields.ts';

/** The tools of a lowering: names of the node's tensors, and small int64 tensors computed in the graph. */
export interface LoweringContext {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly node: GraphNode;
  emit(node: OnnxNode): void;
  /** A fresh tensor name. */
  fresh(): string;
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

const lowerMatmul: Lowering<'matmul'> = (op, { inputs, outputs, emit }) => {
  if (!op.transposeA && !op.transposeB && op.scale === 1) {
    emit({ type: 'MatMul', inputs, outputs });
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

const lowerTokenLogProb: Lowering<'tokenLogProb'> = (_op, context) => {
  const [logits, ids] = context.inputs as [string, string];
  const [picked, all] = context.outputs as [string, string];
  const column = context.fresh();
  const gathered = context.fresh();
  context.emit({ type: 'LogSoftmax', inputs: [logits], outputs: [all], attributes: { axis: { int: -1 } } });
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
  const [probabilities, idColumn, gradientColumn, negated, spread] = Array.from({ length: 5 }, context.fresh) as [
    string,
    string,
    string,
    string,
    string,
  ];
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

/** Symmetric int8 activations with one scale a row: exact under batching, unlike DynamicQuantizeMatMul. */
function lowerRowQuantisedLinear(context: LoweringContext): void {
  const [x, weight, weightScales] = context.inputs as [string, string, string];
  const name = (): string => context.fresh();
  const chain = (type: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>): string => {
    const output = name();
    context.emit({ type, inputs, outputs: [output], ...(attributes === undefined ? {} : { attributes }) });
    return output;
  };
  const largest = chain('ReduceMax', [chain('Abs', [x]), context.int64([-1])], { keepdims: { int: 1 } });
  const rowScale = chain('Div', [chain('Max', [largest, context.float32(1e-12)]), context.float32(127)]);
  const rounded = chain('Round', [chain('Div', [x, rowScale])]);
  const quantised = chain('Cast', [rounded], { to: { int: dataTypeNumber('int8') } });
  const product = chain('Cast', [chain('MatMulInteger', [quantised, weight])], {
    to: { int: dataTypeNumber('float32') },
  });
  context.emit({ type: 'Mul', inputs: [chain('Mul', [product, rowScale]), weightScales], outputs: context.outputs });
}

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
  logSoftmax: direct('LogSoftmax', { axis: { int: -1 } }),
  layerNorm: (op, { inputs, outputs, emit }) =>
    emit({
      type: 'LayerNormalization',
      inputs,
      outputs,
      attributes: { axis: { int: -1 }, epsilon: { float: op.epsilon } },
    }),
  rmsNorm: (op, { inputs, outputs, emit }) =>
    emit({
      type: 'SimplifiedLayerNormalization',
      inputs,
      outputs,
      attributes: { axis: { int: -1 }, epsilon: { float: op.epsilon } },
    }),
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
  int8Linear: (op, context) => {
    if (op.activation === 'per-row') lowerRowQuantisedLinear(context);
    else {
      context.emit({
        type: 'DynamicQuantizeMatMul',
        inputs: context.inputs,
        outputs: context.outputs,
        domain: MICROSOFT,
      });
    }
  },
  cast: (op, { inputs, outputs, emit }) =>
    emit({ type: 'Cast', inputs, outputs, attributes: { to: { int: dataTypeNumber(op.to) } } }),
};
