/**
 * Layers of small networks: functions that append nodes to a graph and declare the parameters they need.
 * Letters in shapes: B batch, T tokens, D width, H heads, K head width, V vocabulary.
 */
import { FloodgateError } from '../base/errors.ts';
import { GraphBuilder } from './graph/builder.ts';
import type { Value } from './graph/ops.ts';
import { elementCount, type Shape, type Size, shapeKey } from './graph/size.ts';
import type { ParameterSpec } from './optimizer/flat-parameters.ts';

/** A graph builder that remembers the parameters declared on it, in the order of the flat parameter vector. */
export class ModelBuilder extends GraphBuilder {
  readonly parameterSpecs: ParameterSpec[] = [];
  readonly parameterValues: Value[] = [];

  /** A trained tensor. It is an input of the graph; a trainer feeds it. */
  parameter(name: string, shape: readonly number[], init: ParameterSpec['init'] = 'kaiming'): Value {
    const value = this.input(name, 'float32', shape, { trainable: true });
    this.parameterSpecs.push({ name, shape, init });
    this.parameterValues.push(value);
    return value;
  }
}

/** The last axis. @throws FloodgateError `graph` when it is missing or a run-time symbol. */
function widthOf(layer: string, x: Value): number {
  const width = x.shape.at(-1);
  if (typeof width === 'number') return width;
  throw new FloodgateError('graph', `build ${layer}: got ${shapeKey(x.shape)}, expected a last axis of known width`);
}

/** y = x W^T + b over the last axis: x [..., in] -> [..., size]. Parameters `NAME.weight` [size, in], `NAME.bias` [size]. */
export function linear(g: ModelBuilder, name: string, x: Value, size: number): Value {
  const width = widthOf(name, x);
  const weight = g.parameter(`${name}.weight`, [size, width]);
  const bias = g.parameter(`${name}.bias`, [size], 'zeros');
  const outer = x.shape.slice(0, -1);
  const rows = g.reshape(x, [elementCount(outer), width]); // [N, in]
  return g.reshape(g.linear(rows, weight, 'outIn', bias), [...outer, size]);
}

/** Layer normalisation over the last axis (Ba et al. 2016). Parameters `NAME.weight` [D] and `NAME.bias` [D]. */
export function layerNorm(g: ModelBuilder, name: string, x: Value, epsilon = 1e-5): Value {
  const shape = [widthOf(name, x)];
  return g.layerNorm(
    x,
    g.parameter(`${name}.weight`, shape, 'ones'),
    g.parameter(`${name}.bias`, shape, 'zeros'),
    epsilon,
  );
}

/** Rows of a trained table: ids int64 [...] -> [..., width]. Parameter `NAME.weight` [rows, width]. */
export function embedding(
  g: ModelBuilder,
  name: string,
  ids: Value,
  size: { readonly rows: number; readonly width: number },
): Value {
  return g.embedding(g.parameter(`${name}.weight`, [size.rows, size.width]), ids);
}

/** 0 where a token may look, -1e9 where it may not: [T, T], constant. */
function causalMask(g: GraphBuilder, tokens: number): Value {
  const mask = Float32Array.from({ length: tokens * tokens }, (_, i) =>
    i % tokens > Math.floor(i / tokens) ? -1e9 : 0,
  );
  return g.constant('float32', [tokens, tokens], mask);
}

/**
 * Causal multi-head self-attention (Vaswani et al. 2017): x [B, T, D] -> [B, T, D]; T and D are numbers, B may be a symbol.
 * Parameters of two linear layers, `NAME.qkv` and `NAME.out`.
 *
 * @throws FloodgateError `graph` for another rank, a symbolic T, or a width that the heads do not divide.
 */
export function causalAttention(g: ModelBuilder, name: string, x: Value, heads: number): Value {
  const width = widthOf(name, x);
  const [batch, tokens] = x.shape;
  if (x.shape.length !== 3 || typeof tokens !== 'number' || width % heads !== 0) {
    throw new FloodgateError(
      'graph',
      `build ${name}: got x ${shapeKey(x.shape)} and ${heads} heads, expected [B, T, D] with a known T and D divisible by heads`,
    );
  }
  const headShape: Shape = [batch as Size, tokens, heads, width / heads];
  const qkv = g.split(linear(g, `${name}.qkv`, x, 3 * width), 2, [width, width, width]);
  const [query, key, value] = qkv.map((part) => g.transpose(g.reshape(part, headShape), [0, 2, 1, 3])); // [B, H, T, K]
  const products = g.matmul(query as Value, key as Value, { transposeB: true, scale: (width / heads) ** -0.5 });
  const weights = g.softmax(g.add(products, causalMask(g, tokens))); // [B, H, T, T]
  const mixed = g.transpose(g.matmul(weights, value as Value), [0, 2, 1, 3]); // [B, T, H, K]
  return linear(g, `${name}.out`, g.reshape(mixed, x.shape), width);
}

/** Mean over all rows of -log softmax(logits)[target], nats: logits [..., V], targets int64 [...] -> []. */
export function crossEntropy(g: GraphBuilder, logits: Value, targets: Value): Value {
  const rows = elementCount(targets.shape);
  const flat = g.reshape(logits, [rows, widthOf('cross entropy', logits)]); // [N, V]
  const logProbs = g.tokenLogProb(flat, g.reshape(targets, [rows])); // [N]
  return g.unary('negate', g.reduceMean(logProbs, [0]));
}
