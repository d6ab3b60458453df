import { maxOf } from '../../base/long-lists.ts';
import type { BinaryKind, Dtype, OpOf, UnaryKind } from '../graph/ops.ts';
import {
  at,
  broadcastIndices,
  countOf,
  floatsOf,
  integersOf,
  mapRows,
  sumOf,
  type Tensor,
} from './reference-tensor.ts';

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

/** s A B over broadcast batches, `A` and `B` swapped in their last two axes as the op says. */
export function matmul(op: OpOf<'matmul'>, a: Tensor, b: Tensor, shape: readonly number[]): Tensor {
  const [rows, columns] = shape.slice(-2) as [number, number];
  const inner = at(a.shape, a.shape.length - (op.transposeA ? 2 : 1));
  const batch = shape.slice(0, -2);
  const [batchA, batchB] = [
    broadcastIndices(a.shape.slice(0, -2), batch),
    broadcastIndices(b.shape.slice(0, -2), batch),
  ];
  const [x, y] = [floatsOf(a), floatsOf(b)];
  const data = new Float64Array(countOf(shape));
  let flat = 0;
  for (let n = 0; n < countOf(batch); n++) {
    const [startA, startB] = [at(batchA, n) * rows * inner, at(batchB, n) * inner * columns];
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let sum = 0;
        for (let k = 0; k < inner; k++) {
          const left = at(x, startA + (op.transposeA ? k * rows + i : i * inner + k));
          const right = at(y, startB + (op.transposeB ? j * inner + k : k * columns + j));
          sum += left * right;
        }
        data[flat++] = op.scale * sum;
      }
    }
  }
  return { shape, data };
}

export function linear(op: OpOf<'linear'>, inputs: readonly Tensor[], shape: readonly number[]): Tensor {
  const [x, weight, bias] = inputs as [Tensor, Tensor, Tensor | undefined];
  const asMatmul = { kind: 'matmul', transposeA: false, transposeB: op.layout === 'outIn', scale: 1 } as const;
  const product = matmul(asMatmul, x, weight, shape);
  if (bias === undefined) return product;
  const indices = broadcastIndices(bias.shape, shape);
  return { shape, data: floatsOf(product).map((value, i) => value + at(floatsOf(bias), at(indices, i))) };
}

/** Rounds each row to the grid of its own symmetric int8 scale. */
function quantiseRows(x: Tensor): Tensor {
  return mapRows(x, (row) => {
    const scale = maxOf([...row.map(Math.abs), 1e-12]) / 127;
    return row.map((value) => roundHalfToEven(value / scale) * scale);
  });
}

export function int8Linear(inputs: readonly Tensor[], shape: readonly number[]): Tensor {
  const [x, weight, scales] = inputs as [Tensor, Tensor, Tensor];
  const columns = at(weight.shape, 1);
  const dequantised: Tensor = {
    shape: weight.shape,
    data: Float64Array.from(integersOf(weight), (value, i) => value * at(floatsOf(scales), i % columns)),
  };
  const asMatmul = { kind: 'matmul', transposeA: false, transposeB: false, scale: 1 } as const;
  return matmul(asMatmul, quantiseRows(x), dequantised, shape);
}

export function softmax(x: Tensor): Tensor {
  return mapRows(x, (row) => {
    const largest = maxOf(row);
    const powers = row.map((value) => Math.exp(value - largest));
    const total = sumOf(powers);
    return powers.map((power) => power / total);
  });
}

export function logSoftmax(x: Tensor): Tensor {
  return mapRows(x, (row) => {
    const largest = maxOf(row);
    const logTotal = largest + Math.log(sumOf(row.map((value) => Math.exp(value - largest))));
    return row.map((value) => value - logTotal);
  });
}

export function layerNorm(op: OpOf<'layerNorm'>, inputs: readonly Tensor[]): Tensor[] {
  const [x, weight, bias] = inputs as [Tensor, Tensor, Tensor];
  const means: number[] = [];
  const inverses: number[] = [];
  const y = mapRows(x, (row) => {
    const mean = sumOf(row) / row.length;
    const variance = sumOf(row.map((value) => (value - mean) ** 2)) / row.length;
    const inverse = 1 / Math.sqrt(variance + op.epsilon);
    means.push(mean);
    inverses.push(inverse);
    return row.map((value, i) => (value - mean) * inverse * at(floatsOf(weight), i) + at(floatsOf(bias), i));
  });
  const shape = [...x.shape.slice(0, -1), 1];
  return [y, { shape, data: Float64Array.from(means) }, { shape, data: Float64Array.from(inverses) }];
}

export function rmsNorm(op: OpOf<'rmsNorm'>, inputs: readonly Tensor[]): Tensor[] {
  const [x, weight] = inputs as [Tensor, Tensor];
  const inverses: number[] = [];
  const y = mapRows(x, (row) => {
    const inverse = 1 / Math.sqrt(sumOf(row.map((value) => value * value)) / row.length + op.epsilon);
    inverses.push(inverse);
    return row.map((value, i) => value * inverse * at(floatsOf(weight), i));
  });
  return [y, { shape: [...x.shape.slice(0, -1), 1], data: Float64Array.from(inverses) }];
}

export function gelu(op: OpOf<'gelu'>, x: Tensor): Tensor {
  const cumulative =
    op.approximation === 'none'
      ? (v: number): number => (1 + erf(v / Math.sqrt(2))) / 2
      : (v: number): number => (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))) / 2;
  return mapElements(x, (v) => v * cumulative(v));
}

export function embedding(table: Tensor, ids: Tensor): Tensor {
  const width = at(table.shape, 1);
  const rows = integersOf(ids).map((id) => floatsOf(table).subarray(id * width, (id + 1) * width));
  return { shape: [...ids.shape, width], data: Float64Array.from(rows.flatMap((row) => [...row])) };
}

export function embeddingGradient(op: OpOf<'embeddingGradient'>, gradient: Tensor, ids: Tensor): Tensor {
  const width = at(gradient.shape, gradient.shape.length - 1);
  const data = new Float64Array(op.rows * width);
  integersOf(ids).forEach((id, position) => {
    for (let i = 0; i < width; i++) {
      data[id * width + i] = at(data, id * width + i) + at(floatsOf(gradient), position * width + i);
    }
  });
  return { shape: [op.rows, width], data };
}

export function tokenLogProb(logits: Tensor, ids: Tensor): Tensor[] {
  const all = logSoftmax(logits);
  const vocabulary = at(logits.shape, 1);
  const picked = integersOf(ids).map((id, row) => at(floatsOf(all), row * vocabulary + id));
  return [{ shape: ids.shape, data: Float64Array.from(picked) }, all];
}

export function tokenLogProbGradient(logProbs: Tensor, ids: Tensor, gradient: Tensor): Tensor {
  const wanted = integersOf(ids);
  return mapRows(logProbs, (row, n) =>
    row.map((logProb, v) => at(floatsOf(gradient), n) * ((v === at(wanted, n) ? 1 : 0) - Math.exp(logProb))),
  );
}

/** Each head's halves (i, i + K/2) of x [B, T, H*K] rotated by the angles of the token's position. */
export function rotary(inputs: readonly Tensor[]): Tensor {
  const [x, positions, cosine, sine] = inputs as [Tensor, Tensor, Tensor, Tensor];
  const half = at(cosine.shape, 1);
  const position = integersOf(positions);
  return mapRows(x, (row, token) =>
    row.map((value, i) => {
      const angle = at(position, token) * half + (i % half);
      const isFirstHalf = i % (2 * half) < half;
      const partner = isFirstHalf ? -at(row, i + half) : at(row, i - half);
      return value * at(floatsOf(cosine), angle) + partner * at(floatsOf(sine), angle);
    }),
  );
}
