import type { BinaryKind, Dtype, UnaryKind } from '../graph/ops.ts';
import { at, broadcastIndices, countOf, floatsOf, integersOf, type Tensor } from './tensor.ts';

/** erf to double precision: e^(-x^2) series without cancellation, 1 beyond 6. */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

export const unaryFunctions: Readonly<Record<UnaryKind, (x: number) => number>> = {
  negate: (x) => -x,
  exp: Math.exp,
  log: Math.log,
  tanh: Math.tanh,
  sigmoid,
  erf,
  sqrt: Math.sqrt,
  abs: Math.abs,
  sign: Math.sign,
  relu: (x) => Math.max(x, 0),
};

const binaryFunctions: Readonly<Record<BinaryKind, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  subtract: (a, b) => a - b,
  multiply: (a, b) => a * b,
  divide: (a, b) => a / b,
};

export function mapElements(x: Tensor | undefined, rule: (value: number) => number): Tensor {
  return { shape: (x as Tensor).shape, data: floatsOf(x).map(rule) };
}

export function applyBinary(kind: BinaryKind, a: Tensor, b: Tensor, shape: readonly number[]): Tensor {
  const [left, right] = [broadcastIndices(a.shape, shape), broadcastIndices(b.shape, shape)];
  const [x, y] = [floatsOf(a), floatsOf(b)];
  const data = new Float64Array(countOf(shape));
  for (let i = 0; i < data.length; i++) data[i] = binaryFunctions[kind](at(x, at(left, i)), at(y, at(right, i)));
  return { shape, data };
}

export function roundHalfToEven(x: number): number {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

/** The nearest IEEE half-precision number. */
function roundToHalf(x: number): number {
  if (x === 0 || !Number.isFinite(x)) return x;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), -14);
  const quantum = 2 ** (exponent - 10);
  const rounded = roundHalfToEven(x / quantum) * quantum;
  return Math.abs(rounded) > 65504 ? Math.sign(x) * Infinity : rounded;
}

export function castTensor(x: Tensor, to: Dtype): Tensor {
  const numbers = x.data instanceof Float64Array ? Array.from(x.data) : integersOf(x);
  switch (to) {
    case 'float32':
      return { shape: x.shape, data: Float64Array.from(numbers) };
    case 'float16':
      return { shape: x.shape, data: Float64Array.from(numbers, roundToHalf) };
    case 'int64':
    case 'int32':
    case 'int8':
      return { shape: x.shape, data: BigInt64Array.from(numbers.map((n) => BigInt(Math.trunc(n)))) };
    default:
      return to satisfies never;
  }
}
