import type { OpOf } from '../graph/ops.ts';
import { roundHalfToEven } from './reference-elementwise.ts';
import { at, broadcastIndices, countOf, floatsOf, integersOf, mapRows, type Tensor } from './tensor.ts';

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
  const data: number[] = [];
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
        data.push(op.scale * sum);
      }
    }
  }
  return { shape, data: Float64Array.from(data) };
}

export function linear(op: OpOf<'linear'>, inputs: readonly Tensor[], shape: readonly number[]): Tensor {
  const [x, weight, bias] = inputs as [Tensor, Tensor, Tensor | undefined];
  const asMatmul = { kind: 'matmul', transposeA: false, transposeB: op.layout === 'outIn', scale: 1 } as const;
  const product = matmul(asMatmul, x, weight, shape);
  if (bias === undefined) return product;
  const indices = broadcastIndices(bias.shape, shape);
  return { shape, data: floatsOf(product).map((value, i) => value + at(floatsOf(bias), at(indices, i))) };
}

/** Rounds activations to an int8 (one symmetric scale a row) or uint8 (one scale and zero point for all) grid. */
function quantiseActivations(x: Tensor, activation: OpOf<'int8Linear'>['activation']): Tensor {
  if (activation === 'per-row') {
    return mapRows(x, (row) => {
      const scale = Math.max(...row.map(Math.abs), 1e-12) / 127;
      return row.map((value) => roundHalfToEven(value / scale) * scale);
    });
  }
  const low = Math.min(0, ...floatsOf(x));
  const high = Math.max(0, ...floatsOf(x));
  const scale = (high - low) / 255;
  const zero = Math.min(255, Math.max(0, roundHalfToEven(-low / scale)));
  return mapRows(x, (row) =>
    row.map((value) => (Math.min(255, Math.max(0, roundHalfToEven(value / scale) + zero)) - zero) * scale),
  );
}

export function int8Linear(op: OpOf<'int8Linear'>, inputs: readonly Tensor[], shape: readonly number[]): Tensor {
  const [x, weight, scales] = inputs as [Tensor, Tensor, Tensor];
  const columns = at(weight.shape, 1);
  const dequantised: Tensor = {
    shape: weight.shape,
    data: Float64Array.from(integersOf(weight), (value, i) => value * at(floatsOf(scales), i % columns)),
  };
  const asMatmul = { kind: 'matmul', transposeA: false, transposeB: false, scale: 1 } as const;
  return matmul(asMatmul, quantiseActivations(x, op.activation), dequantised, shape);
}
