import type { GraphBuilder } from './builder.ts';
import type { GraphNode, Value } from './ops.ts';

/** A value of the forward pass as the reverse sweep reads it: the value itself, or the same numbers computed again. */
export type Recall = (value: Value) => Value;

/** Computes a node's first output again from its inputs and its other outputs; undefined where it is kept. */
type Recomputation = (g: GraphBuilder, node: GraphNode, recall: Recall) => Value | undefined;

const silu: Recomputation = (g, { inputs: [x] }) => g.multiply(x as Value, g.unary('sigmoid', x as Value));

/** Worth it only where a factor is itself computed again: otherwise the product would be kept in another form. */
const multiply: Recomputation = (g, { inputs: [a, b] }, recall) => {
  const [left, right] = [recall(a as Value), recall(b as Value)];
  return left === a && right === b ? undefined : g.multiply(left, right);
};

const rmsNorm: Recomputation = (g, { inputs: [x, weight], outputs: [, inverse] }) =>
  g.multiply(g.multiply(x as Value, inverse as Value), weight as Value);

const layerNorm: Recomputation = (g, { inputs: [x, weight, bias], outputs: [, mean, inverse] }) => {
  const normalised = g.multiply(g.subtract(x as Value, mean as Value), inverse as Value);
  return g.add(g.multiply(normalised, weight as Value), bias as Value);
};

/**
 * Results that cost a pass over their inputs, which the reverse sweep keeps anyway. Each is written otherwise than in the
 * forward pass: of two equal nodes the runtime computes one, and keeps its result.
 */
const recomputations: Readonly<Partial<Record<GraphNode['op']['kind'], Recomputation>>> = {
  silu,
  multiply,
  rmsNorm,
  layerNorm,
};

/** Recalls values of the nodes of a forward pass; each is computed again at most once. */
export function createRecall(g: GraphBuilder, forward: readonly GraphNode[]): Recall {
  const makers = new Map(forward.map((node) => [node.outputs[0]?.id, node]));
  const known = new Map<number, Value>();
  const recall: Recall = (value) => {
    const before = known.get(value.id);
    if (before !== undefined) return before;
    const node = makers.get(value.id);
    const again = node === undefined ? undefined : recomputations[node.op.kind]?.(g, node, recall);
    known.set(value.id, again ?? value);
    return again ?? value;
  };
  return recall;
}
