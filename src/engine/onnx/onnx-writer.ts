import { FloodgateError } from '../../base/errors.ts';
import type { Graph } from '../graph/builder.ts';
import type { GraphNode, Op, Value } from '../graph/ops.ts';
import { type Size, sizeKey } from '../graph/size.ts';
import { CPU_DIALECT, type OnnxDialect } from './onnx-dialect.ts';
import { initializerMessage, nodeMessage, type OnnxNode, valueInfoMessage } from './onnx-fields.ts';
import { type LoweringContext, lowerings } from './onnx-lowering.ts';
import { ProtobufWriter } from './protobuf-writer.ts';

const IR_VERSION = 10;
const OPSET = 21;

/** Lowers a graph to ONNX nodes; holds the names and the small int64 tensors that carry run-time sizes. */
class OnnxLowering {
  readonly nodes: OnnxNode[] = [];
  readonly constants: ProtobufWriter[] = [];
  /** Of tensors in the middle of a lowering. */
  readonly shapes: ProtobufWriter[] = [];
  private readonly names = new Map<number, string>();
  private readonly sizeNames = new Map<string, string>();
  private readonly symbolSources = new Map<string, { readonly input: string; readonly axis: number }>();
  private readonly used: ReadonlySet<number>;
  private readonly dialect: OnnxDialect;
  private counter = 0;

  constructor(graph: Graph, dialect: OnnxDialect) {
    this.dialect = dialect;
    const readers = [...graph.nodes.flatMap(({ inputs }) => inputs), ...graph.outputs.map(({ value }) => value)];
    this.used = new Set(readers.map(({ id }) => id));
    for (const { name, value } of graph.inputs) {
      this.names.set(value.id, name);
      value.shape.forEach((size, axis) => {
        const key = sizeKey(size);
        const isBareSymbol = /^1[A-Za-z_]\w*$/.test(key);
        if (isBareSymbol && !this.symbolSources.has(key.slice(1))) {
          this.symbolSources.set(key.slice(1), { input: name, axis });
        }
      });
    }
    for (const { value, name } of graph.initializers) this.names.set(value.id, name);
    // A node writes its graph output directly: an Identity in between would break buffers shared by past and present.
    for (const { name, value } of graph.outputs) if (!this.names.has(value.id)) this.names.set(value.id, name);
  }

  nameOf(value: Value): string {
    const known = this.names.get(value.id);
    if (known !== undefined) return known;
    const name = `t${value.id}`;
    this.names.set(value.id, name);
    return name;
  }

  private fresh = (): string => `s${this.counter++}`;

  private freshLike = (value: Value): string => {
    const name = this.fresh();
    this.shapes.push(valueInfoMessage(name, value.dtype, value.shape));
    return name;
  };

  private emit = (node: OnnxNode): void => {
    this.nodes.push(node);
  };

  private cached(key: string, create: () => string): string {
    const known = this.sizeNames.get(key);
    if (known !== undefined) return known;
    const name = create();
    this.sizeNames.set(key, name);
    return name;
  }

  private int64 = (values: readonly number[]): string =>
    this.cached(`int64:${values.join(',')}`, () => {
      const name = this.fresh();
      const data = BigInt64Array.from(values.map(BigInt));
      const value: Value = { id: -1, dtype: 'int64', shape: [values.length], requiresGradient: false };
      this.constants.push(initializerMessage({ kind: 'inline', value, name, data }));
      return name;
    });

  private float32 = (number: number): string =>
    this.cached(`float32:${number}`, () => {
      const name = this.fresh();
      const value: Value = { id: -1, dtype: 'float32', shape: [], requiresGradient: false };
      this.constants.push(initializerMessage({ kind: 'inline', value, name, data: Float32Array.of(number) }));
      return name;
    });

  private symbol(symbol: string): string {
    return this.cached(`symbol:${symbol}`, () => {
      const source = this.symbolSources.get(symbol);
      if (source === undefined) {
        throw new FloodgateError('graph', `write ONNX: no input axis has the size ${symbol}, so it cannot be measured`);
      }
      const name = this.fresh();
      const attributes = { start: { int: source.axis }, end: { int: source.axis + 1 } };
      this.emit({ type: 'Shape', inputs: [source.input], outputs: [name], attributes });
      return name;
    });
  }

  private binary(type: 'Add' | 'Mul', a: string, b: string): string {
    const name = this.fresh();
    this.emit({ type, inputs: [a, b], outputs: [name] });
    return name;
  }

  private sizeScalar(size: Size): string {
    if (typeof size === 'number') return this.int64([size]);
    return this.cached(`size:${sizeKey(size)}`, () => {
      const terms = [...size.terms].map(([monomial, coefficient]) => {
        const symbols = monomial.split('*').filter((s) => s !== '');
        const factors = symbols.map((s) => this.symbol(s));
        if (coefficient !== 1 || factors.length === 0) factors.unshift(this.int64([coefficient]));
        return factors.reduce((product, factor) => this.binary('Mul', product, factor));
      });
      return terms.reduce((sum, term) => this.binary('Add', sum, term));
    });
  }

  private sizesVector = (sizes: readonly Size[]): string => {
    if (sizes.every((size) => typeof size === 'number')) return this.int64(sizes);
    return this.cached(`vector:${sizes.map(sizeKey).join(',')}`, () => {
      const name = this.fresh();
      const inputs = sizes.map((size) => this.sizeScalar(size));
      this.emit({ type: 'Concat', inputs, outputs: [name], attributes: { axis: { int: 0 } } });
      return name;
    });
  };

  lower(node: GraphNode): void {
    const lowering = lowerings[node.op.kind] as (op: Op, context: LoweringContext) => void;
    lowering(node.op, {
      node,
      inputs: node.inputs.map((value) => this.nameOf(value)),
      outputs: node.outputs.map((value) => this.nameOf(value)),
      isUsed: (output) => this.used.has(node.outputs[output]?.id ?? Number.NaN),
      dialect: this.dialect,
      emit: this.emit,
      fresh: this.fresh,
      freshLike: this.freshLike,
      sizesVector: this.sizesVector,
      int64: this.int64,
      float32: this.float32,
    });
  }
}

/**
 * The bytes of an ONNX model for `graph` (ModelProto, opset 21 and com.microsoft 1).
 * External weights are referred to by file, offset and length; nothing of theirs is copied.
 */
export function writeOnnx(graph: Graph, dialect: OnnxDialect = CPU_DIALECT): Uint8Array {
  const lowering = new OnnxLowering(graph, dialect);
  for (const node of graph.nodes) lowering.lower(node);
  const outputs = graph.outputs.map(({ name, value }) => {
    const written = lowering.nameOf(value);
    if (written !== name) lowering.nodes.push({ type: 'Identity', inputs: [written], outputs: [name] });
    return valueInfoMessage(name, value.dtype, value.shape);
  });
  // GraphProto: node 1, name 2, initializer 5, input 11, output 12, value_info 13
  const body = new ProtobufWriter();
  for (const node of lowering.nodes) body.message(1, nodeMessage(node));
  body.text(2, 'floodgate');
  for (const initializer of graph.initializers) body.message(5, initializerMessage(initializer));
  for (const constant of lowering.constants) body.message(5, constant);
  for (const { name, value } of graph.inputs) body.message(11, valueInfoMessage(name, value.dtype, value.shape));
  for (const output of outputs) body.message(12, output);
  // The runtime cannot infer every symbolic shape. It uses a buffer again only for a tensor of a shape that it knows to be
  // the same, and where shapes are unknown, opening a training session takes seven times as long.
  const isOutput = new Set(graph.outputs.map(({ value }) => value.id));
  for (const value of graph.nodes.flatMap((node) => node.outputs))
    if (!isOutput.has(value.id)) body.message(13, valueInfoMessage(lowering.nameOf(value), value.dtype, value.shape));
  for (const shape of lowering.shapes) body.message(13, shape);
  // ModelProto: ir_version 1, graph 7, opset_import 8 (domain 1, version 2)
  return new ProtobufWriter()
    .int(1, IR_VERSION)
    .message(7, body)
    .message(8, new ProtobufWriter().text(1, '').int(2, OPSET))
    .message(8, new ProtobufWriter().text(1, 'com.microsoft').int(2, 1))
    .finish();
}
