import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import type { GraphBuilder } from './builder.ts';
import { type BackwardStep, gradientRules, type InputGradients } from './gradient-rules.ts';
import type { GraphNode, Op, Value } from './ops.ts';
import { createRecall, type Recall } from './recall.ts';
import { shapeKey, shapesEqual } from './size.ts';

/**
 * Appends the reverse sweep to the graph and returns d(sum_i seed_i * output_i)/d(parameter) for each parameter, in order.
 *
 * @param seeds pairs of an output and the gradient that enters there (same shape): dL/d(output).
 * @throws FloodgateError `graph` when a seed does not fit, an op on the path has no gradient, or a parameter is unreachable.
 */
export function backward(
  g: GraphBuilder,
  seeds: readonly { readonly output: Value; readonly gradient: Value }[],
  parameters: readonly Value[],
): Value[] {
  const gradients = new Map<number, Value>();
  const accumulate = (value: Value, gradient: Value): void => {
    const before = gradients.get(value.id);
    gradients.set(value.id, before === undefined ? gradient : g.add(before, gradient));
  };
  for (const { output, gradient } of seeds) {
    if (!shapesEqual(output.shape, gradient.shape)) {
      throw new FloodgateError(
        'graph',
        `backward: seed ${shapeKey(gradient.shape)} does not fit ${shapeKey(output.shape)}`,
      );
    }
    accumulate(output, gradient);
  }
  const forward = [...g.nodes];
  const recall = createRecall(g, forward);
  for (const node of [...forward].reverse()) {
    if (!node.inputs.some((x) => x.requiresGradient)) continue;
    const outputGradients = node.outputs.map((output) => gradients.get(output.id));
    if (outputGradients.every((gradient) => gradient === undefined)) continue;
    const inputGradients = applyRule({ g, recall }, node, outputGradients);
    node.inputs.forEach((x, i) => {
      const gradient = inputGradients[i];
      if (x.requiresGradient && gradient !== undefined) accumulate(x, gradient);
    });
  }
  moveGradientsLast(g, forward.length, new Set(seeds.map(({ gradient }) => gradient.id)));
  return parameters.map((parameter) => {
    const gradient = gradients.get(parameter.id);
    if (gradient === undefined)
      throw new FloodgateError('graph', `backward: no path from the seeds to parameter ${parameter.id}`);
    return gradient;
  });
}

/**
 * Reorders the nodes from `start` on: those that depend on no gradient come before those that do. The runtime executes
 * the inputs of a node in the falling order of their places. So it computes a factor when the gradient that it meets is
 * there, not at the start, and no factor of all layers is kept through the whole sweep. Gradients of parameters come
 * last, those of the last layer at the end: they are executed first, and free what they read.
 */
function moveGradientsLast(g: GraphBuilder, start: number, gradients: Set<number>): void {
  const appended = g.nodes.splice(start);
  const isGradient = ({ inputs, outputs }: GraphNode): boolean => {
    const depends = inputs.some(({ id }) => gradients.has(id));
    if (depends) for (const { id } of outputs) gradients.add(id);
    return depends;
  };
  const dependent = new Set(appended.filter(isGradient));
  const read = new Set(appended.flatMap(({ inputs }) => inputs.map(({ id }) => id)));
  const isLeaf = ({ outputs }: GraphNode): boolean => !outputs.some(({ id }) => read.has(id));
  append(
    g.nodes,
    appended.filter((node) => !dependent.has(node)),
  );
  append(
    g.nodes,
    [...dependent].filter((node) => !isLeaf(node)),
  );
  append(g.nodes, [...dependent].filter(isLeaf).reverse());
}

function applyRule(
  tools: { readonly g: GraphBuilder; readonly recall: Recall },
  node: GraphNode,
  gradients: readonly (Value | undefined)[],
): InputGradients {
  const rule = gradientRules[node.op.kind] as ((step: BackwardStep<Op>) => InputGradients) | 'none';
  if (rule === 'none') throw new FloodgateError('graph', `backward: ${node.op.kind} has no gradient`);
  // Statistics and log-probs beside the result have no rule: a gradient there must not vanish silently.
  const left = node.op.kind === 'split' ? -1 : gradients.findIndex((gradient, i) => i > 0 && gradient !== undefined);
  if (left > 0) throw new FloodgateError('graph', `backward: ${node.op.kind}: output ${left} takes no gradient`);
  return rule({ ...tools, op: node.op, inputs: node.inputs, outputs: node.outputs, gradients });
}
