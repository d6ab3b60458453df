import type { Tensor as RuntimeTensor } from 'onnxruntime-node';
import { FloodgateError } from '../../base/errors.ts';
import { maxOf } from '../../base/long-lists.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import type { Graph } from '../graph/builder.ts';
import { interpret } from './reference-interpreter.ts';
import { floatsOf, sumOf, type Tensor } from './reference-tensor.ts';

export interface GradientCheckOptions {
  /** Name of the scalar output that is differentiated; `loss` when absent. */
  readonly loss?: string;
  /** Inputs to differentiate by; when absent, every input NAME that has an output `gradient:NAME`. */
  readonly parameters?: readonly string[];
  /** Elements of each tensor that are checked one by one: the largest gradient, then drawn at random. Default 8. */
  readonly elements?: number;
  /** Random directions through all parameters at once. Default 3. */
  readonly directions?: number;
  /** Distance between the points of the difference. Default 1e-3. */
  readonly step?: number;
  /** Seed of the drawn elements and directions. Default 0. */
  readonly seed?: number;
}

export interface GradientCheck {
  /** Relative error by parameter name and by `direction N`. */
  readonly errors: Readonly<Record<string, number>>;
  /** The largest of `errors`. */
  readonly largest: number;
}

type Feeds = Readonly<Record<string, Tensor>>;

/** max |actual - expected| / max |expected|; absolute where every expected number is zero, Infinity at NaN. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const gap = Math.abs((actual[i] as number) - (expected[i] as number));
    if (Number.isNaN(gap)) return Infinity;
    difference = Math.max(difference, gap);
    largest = Math.max(largest, Math.abs(expected[i] as number));
  }
  return largest === 0 ? difference : difference / largest;
}

/** A tensor of ONNX Runtime for the interpreter: floats become float64, integers int64. */
function referenceTensor(tensor: RuntimeTensor): Tensor {
  const { dims: shape, data } = tensor;
  if (data instanceof Float32Array) return { shape, data: Float64Array.from(data) };
  if (data instanceof BigInt64Array) return { shape, data };
  if (data instanceof Int32Array || data instanceof Int8Array) {
    return { shape, data: BigInt64Array.from(Array.from(data, BigInt)) };
  }
  throw new FloodgateError('graph', `check gradients: got a ${tensor.type} input, expected float32 or integers`);
}

/** A graph's loss as a function of its inputs, and the gradients that its backward nodes give at one point. */
class CheckedLoss {
  private readonly graph: Graph;
  private readonly feeds: Feeds;
  private readonly loss: string;
  private readonly step: number;
  /** dL/d(parameter) at the point itself, by name. */
  readonly gradients: ReadonlyMap<string, Float64Array>;

  constructor(graph: Graph, feeds: Feeds, options: { loss: string; parameters: readonly string[]; step: number }) {
    this.graph = graph;
    this.feeds = feeds;
    this.loss = options.loss;
    this.step = options.step;
    const outputs = interpret(graph, feeds, options.parameters.map(gradientOutput));
    this.gradients = new Map(options.parameters.map((name) => [name, floatsOf(outputs[gradientOutput(name)])]));
  }

  private valueAt(t: number, direction: ReadonlyMap<string, ArrayLike<number>>): number {
    const moved: Record<string, Tensor> = { ...this.feeds };
    for (const [name, delta] of direction) {
      const origin = this.feeds[name] as Tensor;
      moved[name] = { shape: origin.shape, data: floatsOf(origin).map((x, i) => x + t * (delta[i] as number)) };
    }
    return sumOf(floatsOf(interpret(this.graph, moved, [this.loss])[this.loss]));
  }

  /** Fourth-order central difference along `direction`: (-L(2h) + 8 L(h) - 8 L(-h) + L(-2h)) / 12h. */
  slopeAlong(direction: ReadonlyMap<string, ArrayLike<number>>): number {
    const [a, b, c, d] = [2, 1, -1, -2].map((k) => this.valueAt(k * this.step, direction));
    return (-(a as number) + 8 * (b as number) - 8 * (c as number) + (d as number)) / (12 * this.step);
  }
}

/** Name of the graph output that holds a parameter's gradient. */
export function gradientOutput(parameter: string): string {
  return `gradient:${parameter}`;
}

function unitVector(length: number, index: number): Float64Array {
  const vector = new Float64Array(length);
  vector[index] = 1;
  return vector;
}

/** Up to `count` places: the largest gradient, on which the error's scale rests, and others at random. */
function chooseElements(gradient: Float64Array, count: number, stream: RandomStream): number[] {
  const places = Array.from(gradient, (_, i) => i);
  if (count >= places.length) return places;
  const sizes = gradient.map(Math.abs);
  const largest = sizes.indexOf(sizes.reduce((a, b) => Math.max(a, b), 0));
  return [...new Set([Math.max(0, largest), ...stream.shuffle(places)])].slice(0, count);
}

/** The error along one random direction, relative to the size of the sum's terms: the sum itself may cancel. */
function directionError(checked: CheckedLoss, stream: RandomStream): number {
  const total = sumOf([...checked.gradients.values()].map(({ length }) => length));
  const direction = new Map(
    [...checked.gradients].map(([name, gradient]) => [
      name,
      gradient.map(() => stream.nextNormal() / Math.sqrt(total)),
    ]),
  );
  const terms = [...checked.gradients].flatMap(([name, gradient]) =>
    Array.from(gradient, (slope, i) => slope * (direction.get(name)?.[i] as number)),
  );
  const gap = Math.abs(sumOf(terms) - checked.slopeAlong(direction));
  const scale = Math.sqrt(sumOf(terms.map((term) => term * term)));
  if (Number.isNaN(gap)) return Infinity;
  return scale === 0 ? gap : gap / scale;
}

function parametersOf(graph: Graph, options: GradientCheckOptions): readonly string[] {
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const names = graph.inputs.map(({ name }) => name).filter((name) => outputs.has(gradientOutput(name)));
  const parameters = options.parameters ?? names;
  const missing = parameters.find((name) => !names.includes(name));
  if (missing !== undefined || parameters.length === 0) {
    throw new FloodgateError(
      'graph',
      `check gradients: the graph has no output ${gradientOutput(missing ?? 'NAME')}, expected one for each parameter`,
    );
  }
  const loss = options.loss ?? 'loss';
  if (!outputs.has(loss)) throw new FloodgateError('graph', `check gradients: the graph has no output ${loss}`);
  return parameters;
}

/**
 * Compares a graph's gradients with central differences of its loss. The reference interpreter computes both in
 * float64, so that a wrong rule shows and rounding does not: a right gradient has an error of about 1e-8, because the
 * graph's own constants are float32. At a kink (`relu`, `abs`) within reach of the step the difference itself is wrong.
 *
 * @param graph has a scalar output `loss` and, for each parameter NAME, an output `gradient:NAME` made by `backward`.
 * @param inputs every input of the graph, parameters included: the point at which the gradients are checked.
 * @throws FloodgateError `graph` when an output is missing.
 */
export function checkGradients(
  graph: Graph,
  inputs: Readonly<Record<string, RuntimeTensor>>,
  options: GradientCheckOptions = {},
): GradientCheck {
  const { loss = 'loss', elements = 8, directions = 3, step = 1e-3, seed = 0 } = options;
  const parameters = parametersOf(graph, options);
  const feeds = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, referenceTensor(tensor)]));
  const checked = new CheckedLoss(graph, feeds, { loss, parameters, step });
  const errors: Record<string, number> = {};
  for (const [name, gradient] of checked.gradients) {
    const places = chooseElements(gradient, elements, randomStream(seed, 'gradient check', name));
    const numeric = places.map((i) => checked.slopeAlong(new Map([[name, unitVector(gradient.length, i)]])));
    const analytic = places.map((i) => gradient[i] as number);
    errors[name] = relativeError(analytic, numeric);
  }
  for (let i = 0; i < directions; i++) {
    errors[`direction ${i}`] = directionError(checked, randomStream(seed, 'gradient check', 'direction', i));
  }
  return { errors, largest: maxOf(Object.values(errors)) };
}
