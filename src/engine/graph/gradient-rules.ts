import type { GraphBuilder } from './builder.ts';
import type { Op, OpKind, OpOf, Value } from './ops.ts';
import type { Recall } from './recall.ts';
import { type Shape, type Size, shapesEqual, sizesEqual } from './size.ts';

/** A rule sees the forward node, and the gradient of the loss by each of its outputs (absent = zero). */
export interface BackwardStep<O extends Op> {
  readonly g: GraphBuilder;
  readonly recall: Recall;
  readonly op: O;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly gradients: readonly (Value | undefined)[];
}

/** Gradient by each input, in order; `undefined` where none is needed. */
export type InputGradients = (Value | undefined)[];
type GradientRule<K extends OpKind> = (step: BackwardStep<OpOf<K>>) => InputGradients;

/** `gradient` summed back to `shape`: the adjoint of broadcasting. */
export function unbroadcast(g: GraphBuilder, gradient: Value, shape: Shape): Value {
  if (shapesEqual(gradient.shape, shape)) return gradient;
  const offset = gradient.shape.length - shape.length;
  const axes = gradient.shape.flatMap((size, axis) => {
    const wanted = axis < offset ? undefined : (shape[axis - offset] as Size);
    return wanted === undefined || (wanted === 1 && !sizesEqual(size, 1)) ? [axis] : [];
  });
  return g.reshape(g.reduceSum(gradient, axes, true), shape);
}

/** `compute()` summed to the shape of `value`, only when a gradient must reach it. */
function toward(g: GraphBuilder, value: Value, compute: () => Value): Value | undefined {
  return value.requiresGradient ? unbroadcast(g, compute(), value.shape) : undefined;
}

/** Inputs, outputs and the first output's gradient, by position; rules run only when that gradient exists. */
function parts(step: BackwardStep<Op>): { a: Value; b: Value; c: Value; y: Value; dy: Value } {
  const [a, b, c] = step.inputs;
  return { a: a as Value, b: b as Value, c: c as Value, y: step.outputs[0] as Value, dy: step.gradients[0] as Value };
}

const matmulRule: GradientRule<'matmul'> = (step) => {
  const { g, op } = step;
  const { a, b, dy } = parts(step);
  const { transposeA: ta, transposeB: tb, scale } = op;
  return [
    // y = s A B: dA = s dy B^T, dA^T = s B dy^T
    toward(g, a, () =>
      ta ? g.matmul(b, dy, { transposeA: tb, transposeB: true, scale }) : g.matmul(dy, b, { transposeB: !tb, scale }),
    ),
    // dB = s A^T dy, dB^T = s dy^T A
    toward(g, b, () =>
      tb ? g.matmul(dy, a, { transposeA: true, transposeB: ta, scale }) : g.matmul(a, dy, { transposeA: !ta, scale }),
    ),
  ];
};

const linearRule: GradientRule<'linear'> = (step) => {
  const { g, op, recall } = step;
  const { a: x, b: weight, c: bias, dy } = parts(step);
  const outIn = op.layout === 'outIn';
  const gradients: InputGradients = [
    // dx = dy W^T (W as [in, out])
    toward(g, x, () => g.linear(dy, weight, outIn ? 'inOut' : 'outIn')),
    // dW = x^T dy, transposed with the layout
    toward(g, weight, () =>
      outIn ? g.matmul(dy, recall(x), { transposeA: true }) : g.matmul(recall(x), dy, { transposeA: true }),
    ),
  ];
  if (bias !== undefined) gradients.push(toward(g, bias, () => dy));
  return gradients;
};

const layerNormRule: GradientRule<'layerNorm'> = (step) => {
  const { g } = step;
  const { a: x, b: weight, c: bias, dy } = parts(step);
  const [, mean, inverse] = step.outputs as [Value, Value, Value];
  const normalised = g.multiply(g.subtract(x, mean), inverse); // xhat
  return [
    toward(g, x, () => {
      const dyw = g.multiply(dy, weight);
      const last = [x.shape.length - 1];
      const meanDyw = g.reduceMean(dyw, last, true);
      const meanDywX = g.reduceMean(g.multiply(dyw, normalised), last, true);
      return g.multiply(g.subtract(g.subtract(dyw, meanDyw), g.multiply(normalised, meanDywX)), inverse);
    }),
    toward(g, weight, () => g.multiply(dy, normalised)),
    toward(g, bias, () => dy),
  ];
};

const rmsNormRule: GradientRule<'rmsNorm'> = (step) => {
  const { g } = step;
  const { a: x, b: weight, dy } = parts(step);
  const inverse = step.outputs[1] as Value;
  const normalised = g.multiply(x, inverse);
  return [
    toward(g, x, () => {
      const dyw = g.multiply(dy, weight);
      const meanDywX = g.reduceMean(g.multiply(dyw, normalised), [x.shape.length - 1], true);
      return g.multiply(g.subtract(dyw, g.multiply(normalised, meanDywX)), inverse);
    }),
    toward(g, weight, () => g.multiply(dy, normalised)),
  ];
};

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);
const GELU_CUBIC = 0.044715;

const geluRule: GradientRule<'gelu'> = (step) => {
  const { g, op } = step;
  const { a: x, dy } = parts(step);
  const half = g.scalar(0.5);
  if (op.approximation === 'none') {
    // d/dx x Phi(x) = Phi(x) + x phi(x)
    const phi = g.multiply(
      g.unary('exp', g.multiply(g.multiply(x, x), g.scalar(-0.5))),
      g.scalar(1 / Math.sqrt(2 * Math.PI)),
    );
    const cumulative = g.multiply(g.add(g.unary('erf', g.multiply(x, g.scalar(Math.SQRT1_2))), g.scalar(1)), half);
    return [toward(g, x, () => g.multiply(dy, g.add(cumulative, g.multiply(x, phi))))];
  }
  // u = sqrt(2/pi) (x + 0.044715 x^3), t = tanh u: d = 0.5 (1 + t + x (1 - t^2) u')
  const square = g.multiply(x, x);
  const inner = g.add(g.multiply(square, g.scalar(SQRT_2_OVER_PI * GELU_CUBIC)), g.scalar(SQRT_2_OVER_PI));
  const t = g.unary('tanh', g.multiply(x, inner));
  const innerSlope = g.add(g.multiply(square, g.scalar(3 * SQRT_2_OVER_PI * GELU_CUBIC)), g.scalar(SQRT_2_OVER_PI));
  const sech2 = g.subtract(g.scalar(1), g.multiply(t, t));
  const slope = g.multiply(g.add(g.add(t, g.scalar(1)), g.multiply(x, g.multiply(sech2, innerSlope))), half);
  return [toward(g, x, () => g.multiply(dy, slope))];
};

const splitRule: GradientRule<'split'> = ({ g, op, outputs, gradients }) => {
  const filled = outputs.map(
    (output, i) =>
      gradients[i] ??
      g.expand(
        g.reshape(
          g.scalar(0),
          output.shape.map(() => 1),
        ),
        output.shape,
      ),
  );
  return [g.concat(filled, op.axis)];
};

/** Gradient of a sum or mean: dy spread back over the reduced axes. */
function spread(step: BackwardStep<OpOf<'reduceSum' | 'reduceMean'>>): Value {
  const { g, op } = step;
  const { a: x, dy } = parts(step);
  const kept = x.shape.map((size, axis) => (op.axes.includes(axis) ? 1 : size));
  return g.expand(g.reshape(dy, kept), x.shape);
}

function inversePermutation(permutation: readonly number[]): number[] {
  const inverse: number[] = [];
  permutation.forEach((axis, position) => {
    inverse[axis] = position;
  });
  return inverse;
}

/**
 * Reverse mode, all of it, one rule an op; a forgotten op does not compile. `'none'` marks what has no gradient:
 * adjoints themselves, integer or inference-only ops. Called only when the first output's gradient exists
 * (any output's for `split`).
 */
export const gradientRules: { readonly [K in OpKind]: GradientRule<K> | 'none' } = {
  add: (s) => [toward(s.g, parts(s).a, () => parts(s).dy), toward(s.g, parts(s).b, () => parts(s).dy)],
  subtract: (s) => [
    toward(s.g, parts(s).a, () => parts(s).dy),
    toward(s.g, parts(s).b, () => s.g.unary('negate', parts(s).dy)),
  ],
  multiply: (s) => [
    toward(s.g, parts(s).a, () => s.g.multiply(parts(s).dy, s.recall(parts(s).b))), // dy b
    toward(s.g, parts(s).b, () => s.g.multiply(parts(s).dy, s.recall(parts(s).a))), // dy a
  ],
  divide: (s) => [
    toward(s.g, parts(s).a, () => s.g.divide(parts(s).dy, parts(s).b)), // dy / b
    toward(s.g, parts(s).b, () => s.g.unary('negate', s.g.divide(s.g.multiply(parts(s).dy, parts(s).y), parts(s).b))), // -dy y / b
  ],
  negate: (s) => [s.g.unary('negate', parts(s).dy)],
  exp: (s) => [s.g.multiply(parts(s).dy, parts(s).y)], // dy e^x
  log: (s) => [s.g.divide(parts(s).dy, parts(s).a)], // dy / x
  tanh: (s) => [s.g.multiply(parts(s).dy, s.g.subtract(s.g.scalar(1), s.g.multiply(parts(s).y, parts(s).y)))], // dy (1 - y^2)
  sigmoid: (s) => [
    s.g.multiply(parts(s).dy, s.g.multiply(parts(s).y, s.g.subtract(s.g.scalar(1), parts(s).y))), // dy y (1 - y)
  ],
  erf: (s) => [
    // dy 2/sqrt(pi) e^(-x^2)
    s.g.multiply(
      s.g.multiply(parts(s).dy, s.g.unary('exp', s.g.unary('negate', s.g.multiply(parts(s).a, parts(s).a)))),
      s.g.scalar(2 / Math.sqrt(Math.PI)),
    ),
  ],
  sqrt: (s) => [s.g.multiply(s.g.divide(parts(s).dy, parts(s).y), s.g.scalar(0.5))], // dy / (2 y)
  abs: (s) => [s.g.multiply(parts(s).dy, s.g.unary('sign', parts(s).a))], // dy sign(x)
  sign: 'none',
  relu: (s) => [s.g.multiply(parts(s).dy, s.g.unary('sign', parts(s).y))], // dy where y > 0
  clip: 'none',
  matmul: matmulRule,
  linear: linearRule,
  transpose: (s) => [s.g.transpose(parts(s).dy, inversePermutation(s.op.permutation))],
  reshape: (s) => [s.g.reshape(parts(s).dy, parts(s).a.shape)],
  expand: (s) => [unbroadcast(s.g, parts(s).dy, parts(s).a.shape)],
  concat: (s) =>
    s.g.split(
      parts(s).dy,
      s.op.axis,
      s.inputs.map((x) => x.shape[s.op.axis] as Size),
    ),
  split: splitRule,
  reduceSum: (s) => [spread(s)],
  reduceMean: (s) => {
    const { a: x, y } = parts(s);
    const count = x.shape.reduce<number>(
      (n, size, axis) => (s.op.axes.includes(axis) && typeof size === 'number' ? n * size : n),
      1,
    );
    const isStatic = s.op.axes.every((axis) => typeof x.shape[axis] === 'number');
    if (isStatic) return [s.g.multiply(spread(s), s.g.scalar(1 / count))];
    // A symbolic count is measured in the graph: the mean's ratio to the sum is the same for a tensor of ones.
    const ones = s.g.expand(
      s.g.reshape(
        s.g.scalar(1),
        x.shape.map(() => 1),
      ),
      x.shape,
    );
    const counted = s.g.reduceSum(ones, s.op.axes, s.op.keepDims);
    const scaled = s.g.divide(parts(s).dy, counted);
    return [spread({ ...s, gradients: [scaled], outputs: [y] })];
  },
  softmax: (s) => {
    const { y, dy } = parts(s);
    const weighted = s.g.multiply(dy, y);
    const total = s.g.reduceSum(weighted, [y.shape.length - 1], true);
    return [s.g.subtract(weighted, s.g.multiply(y, total))]; // y (dy - sum(dy y))
  },
  logSoftmax: (s) => {
    const { y, dy } = parts(s);
    const total = s.g.reduceSum(dy, [y.shape.length - 1], true);
    return [s.g.subtract(dy, s.g.multiply(s.g.unary('exp', y), total))]; // dy - softmax sum(dy)
  },
  layerNorm: layerNormRule,
  rmsNorm: rmsNormRule,
  gelu: geluRule,
  silu: (s) => {
    const { a: x, dy } = parts(s);
    const gate = s.g.unary('sigmoid', x);
    // s (1 + x (1 - s))
    const slope = s.g.multiply(gate, s.g.add(s.g.multiply(x, s.g.subtract(s.g.scalar(1), gate)), s.g.scalar(1)));
    return [s.g.multiply(dy, slope)];
  },
  embedding: (s) => {
    const { a: table, b: ids, dy } = parts(s);
    return [s.g.apply({ kind: 'embeddingGradient', rows: table.shape[0] as number }, [dy, ids])[0]];
  },
  embeddingGradient: 'none',
  tokenLogProb: (s) => {
    const { b: ids, dy } = parts(s);
    return [s.g.apply({ kind: 'tokenLogProbGradient' }, [s.outputs[1] as Value, ids, dy])[0]]; // dy (onehot - softmax)
  },
  tokenLogProbGradient: 'none',
  rotary: (s) => {
    const [, positions, cosine, sine] = s.inputs as [Value, Value, Value, Value];
    return [s.g.rotary(parts(s).dy, positions, cosine, s.g.unary('negate', sine))]; // the inverse rotation
  },
  int8Linear: 'none',
  cast: 'none',
};
