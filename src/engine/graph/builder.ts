import { FloodgateError } from '../../base/errors.ts';
import type { Dtype, GraphNode, LinearLayout, Op, UnaryKind, Value } from './ops.ts';
import { type OutputSpec, shapeRules } from './shape-rules.ts';
import { type Shape, type Size, shapesEqual } from './size.ts';

export type InitializerData = Float32Array | BigInt64Array | Int32Array | Int8Array;

/** Where a constant tensor's bytes are: in the model file, or at an offset of an external file. */
export type Initializer =
  | { readonly kind: 'inline'; readonly value: Value; readonly name: string; readonly data: InitializerData }
  | {
      readonly kind: 'external';
      readonly value: Value;
      readonly name: string;
      readonly location: string;
      readonly offset: number;
      readonly byteLength: number;
    };

export interface GraphInput {
  readonly name: string;
  readonly value: Value;
}

/** A finished graph: plain data for the writer, the differentiator and the reference interpreter. */
export interface Graph {
  readonly inputs: readonly GraphInput[];
  readonly outputs: readonly GraphInput[];
  readonly initializers: readonly Initializer[];
  readonly nodes: readonly GraphNode[];
}

/**
 * Builds a typed graph node by node. Pure: it infers shapes and records, and runs nothing.
 * Every method returns the node's (first) output; sizes may be symbols bound by the inputs' axes.
 */
export class GraphBuilder {
  readonly nodes: GraphNode[] = [];
  private readonly inputList: GraphInput[] = [];
  private readonly outputList: GraphInput[] = [];
  private readonly initializerList: Initializer[] = [];
  private readonly scalars = new Map<number, Value>();
  private nextId = 0;

  private newValue(spec: OutputSpec, requiresGradient: boolean): Value {
    return { id: this.nextId++, dtype: spec.dtype, shape: spec.shape, requiresGradient };
  }

  /** A graph input fed at each run. `trainable` marks what `backward` may differentiate by. */
  input(name: string, dtype: Dtype, shape: Shape, options: { readonly trainable?: boolean } = {}): Value {
    if (this.inputList.some((existing) => existing.name === name)) {
      throw new FloodgateError('graph', `add input: the name ${name} is taken`);
    }
    const value = this.newValue({ dtype, shape }, options.trainable ?? false);
    this.inputList.push({ name, value });
    return value;
  }

  /** A constant stored in the model file itself. For small tensors. */
  constant(dtype: Dtype, shape: readonly number[], data: InitializerData): Value {
    const value = this.newValue({ dtype, shape }, false);
    this.initializerList.push({ kind: 'inline', value, name: `constant_${value.id}`, data });
    return value;
  }

  /** A float32 scalar, one initializer for each distinct number. */
  scalar(number: number): Value {
    const known = this.scalars.get(number);
    if (known !== undefined) return known;
    const value = this.constant('float32', [], Float32Array.of(number));
    this.scalars.set(number, value);
    return value;
  }

  /** A frozen weight read from an external file as it lies there. */
  externalWeight(
    name: string,
    shape: readonly number[],
    place: { readonly location: string; readonly offset: number; readonly byteLength: number; readonly dtype?: Dtype },
  ): Value {
    const { location, offset, byteLength, dtype = 'float32' } = place;
    const value = this.newValue({ dtype, shape }, false);
    this.initializerList.push({ kind: 'external', value, name, location, offset, byteLength });
    return value;
  }

  /** The same tensor, through which no gradient flows. */
  detach(value: Value): Value {
    return { ...value, requiresGradient: false };
  }

  output(name: string, value: Value): void {
    this.outputList.push({ name, value });
  }

  /** Appends a node and returns all its outputs. */
  apply<O extends Op>(op: O, inputs: readonly Value[]): Value[] {
    const rule = shapeRules[op.kind] as (op: Op, inputs: readonly Value[]) => OutputSpec[];
    const requiresGradient = inputs.some((value) => value.requiresGradient);
    const outputs = rule(op, inputs).map((spec) => this.newValue(spec, requiresGradient));
    this.nodes.push({ op, inputs, outputs });
    return outputs;
  }

  private first(op: Op, inputs: readonly Value[]): Value {
    return this.apply(op, inputs)[0] as Value;
  }

  add(a: Value, b: Value): Value {
    return this.first({ kind: 'add' }, [a, b]);
  }

  subtract(a: Value, b: Value): Value {
    return this.first({ kind: 'subtract' }, [a, b]);
  }

  multiply(a: Value, b: Value): Value {
    return this.first({ kind: 'multiply' }, [a, b]);
  }

  divide(a: Value, b: Value): Value {
    return this.first({ kind: 'divide' }, [a, b]);
  }

  unary(kind: UnaryKind, x: Value): Value {
    return this.first({ kind }, [x]);
  }

  clip(x: Value, low: number, high: number): Value {
    return this.first({ kind: 'clip', low, high }, [x]);
  }

  matmul(
    a: Value,
    b: Value,
    options: { readonly transposeA?: boolean; readonly transposeB?: boolean; readonly scale?: number } = {},
  ): Value {
    const { transposeA = false, transposeB = false, scale = 1 } = options;
    return this.first({ kind: 'matmul', transposeA, transposeB, scale }, [a, b]);
  }

  linear(x: Value, weight: Value, layout: LinearLayout, bias?: Value): Value {
    return this.first({ kind: 'linear', layout }, bias === undefined ? [x, weight] : [x, weight, bias]);
  }

  /** `weight` is an initializer: the runtime has an exact product on every processor for constant weights alone. */
  int8Linear(x: Value, weight: Value, scales: Value): Value {
    if (!this.initializerList.some(({ value }) => value.id === weight.id))
      throw new FloodgateError('graph', 'int8Linear: the weight is computed or fed, expected a constant');
    return this.first({ kind: 'int8Linear' }, [x, weight, scales]);
  }

  transpose(x: Value, permutation: readonly number[]): Value {
    return this.first({ kind: 'transpose', permutation }, [x]);
  }

  reshape(x: Value, shape: Shape): Value {
    return shapesEqual(x.shape, shape) ? x : this.first({ kind: 'reshape', shape }, [x]);
  }

  expand(x: Value, shape: Shape): Value {
    return shapesEqual(x.shape, shape) ? x : this.first({ kind: 'expand', shape }, [x]);
  }

  concat(values: readonly Value[], axis: number): Value {
    return this.first({ kind: 'concat', axis }, values);
  }

  split(x: Value, axis: number, sizes: readonly Size[]): Value[] {
    return this.apply({ kind: 'split', axis, sizes }, [x]);
  }

  reduceSum(x: Value, axes: readonly number[], keepDims = false): Value {
    return this.first({ kind: 'reduceSum', axes, keepDims }, [x]);
  }

  reduceMean(x: Value, axes: readonly number[], keepDims = false): Value {
    return this.first({ kind: 'reduceMean', axes, keepDims }, [x]);
  }

  softmax(x: Value): Value {
    return this.first({ kind: 'softmax' }, [x]);
  }

  logSoftmax(x: Value): Value {
    return this.first({ kind: 'logSoftmax' }, [x]);
  }

  layerNorm(x: Value, weight: Value, bias: Value, epsilon: number): Value {
    return this.first({ kind: 'layerNorm', epsilon }, [x, weight, bias]);
  }

  rmsNorm(x: Value, weight: Value, epsilon: number): Value {
    return this.first({ kind: 'rmsNorm', epsilon }, [x, weight]);
  }

  gelu(x: Value, approximation: 'tanh' | 'none'): Value {
    return this.first({ kind: 'gelu', approximation }, [x]);
  }

  silu(x: Value): Value {
    return this.first({ kind: 'silu' }, [x]);
  }

  embedding(table: Value, ids: Value): Value {
    return this.first({ kind: 'embedding' }, [table, ids]);
  }

  tokenLogProb(logits: Value, ids: Value): Value {
    return this.first({ kind: 'tokenLogProb' }, [logits, ids]);
  }

  rotary(x: Value, positions: Value, cosine: Value, sine: Value): Value {
    return this.first({ kind: 'rotary' }, [x, positions, cosine, sine]);
  }

  cast(x: Value, to: Dtype): Value {
    return this.first({ kind: 'cast', to }, [x]);
  }

  /** The finished graph. */
  build(): Graph {
    if (this.outputList.length === 0) throw new FloodgateError('graph', 'build graph: it has no output');
    return {
      inputs: [...this.inputList],
      outputs: [...this.outputList],
      initializers: [...this.initializerList],
      nodes: [...this.nodes],
    };
  }
}
