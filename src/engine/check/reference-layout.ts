import { at, broadcastIndices, coordinatesOf, countOf, floatsOf, stridesOf, type Tensor } from './tensor.ts';

/** A tensor of `shape` whose element at each coordinate is `x` at `place(coordinate)`; any dtype. */
function gatherElements(
  x: Tensor,
  shape: readonly number[],
  place: (coordinates: readonly number[]) => readonly number[],
): Tensor {
  const strides = stridesOf(x.shape);
  const indices = Array.from(coordinatesOf(shape), (coordinates) =>
    place(coordinates).reduce((sum, coordinate, axis) => sum + coordinate * at(strides, axis), 0),
  );
  return { shape, data: pick(x, indices) };
}

function pick(x: Tensor, indices: ArrayLike<number>): Tensor['data'] {
  const { data } = x;
  return data instanceof Float64Array
    ? Float64Array.from(indices, (index) => data[index] as number)
    : BigInt64Array.from(Array.from(indices, (index) => data[index] as bigint));
}

export function transpose(x: Tensor, permutation: readonly number[]): Tensor {
  const shape = permutation.map((axis) => at(x.shape, axis));
  return gatherElements(x, shape, (coordinates) =>
    x.shape.map((_, axis) => at(coordinates, permutation.indexOf(axis))),
  );
}

export function expand(x: Tensor, shape: readonly number[]): Tensor {
  return { shape, data: pick(x, broadcastIndices(x.shape, shape)) };
}

/** Elements `start .. start + length` of an axis. */
function slice(x: Tensor, axis: number, start: number, length: number): Tensor {
  const shape = x.shape.map((size, i) => (i === axis ? length : size));
  return gatherElements(x, shape, (coordinates) => coordinates.map((c, i) => (i === axis ? c + start : c)));
}

export function split(x: Tensor, axis: number, sizes: readonly number[]): Tensor[] {
  let start = 0;
  return sizes.map((size) => {
    const part = slice(x, axis, start, size);
    start += size;
    return part;
  });
}

export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const first = parts[0] as Tensor;
  const along = parts.reduce((sum, part) => sum + at(part.shape, axis), 0);
  const outer = countOf(first.shape.slice(0, axis));
  const chunks: (number | bigint)[] = [];
  for (let row = 0; row < outer; row++) {
    for (const part of parts) {
      const width = countOf(part.shape.slice(axis));
      chunks.push(...part.data.subarray(row * width, (row + 1) * width));
    }
  }
  const shape = first.shape.map((size, i) => (i === axis ? along : size));
  return {
    shape,
    data:
      first.data instanceof Float64Array
        ? Float64Array.from(chunks as number[])
        : BigInt64Array.from(chunks as bigint[]),
  };
}

export function reduceSum(x: Tensor, axes: readonly number[], keepDims: boolean): Tensor {
  const kept = x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const strides = stridesOf(kept);
  const data = new Float64Array(countOf(kept));
  const values = floatsOf(x);
  let flat = 0;
  for (const coordinates of coordinatesOf(x.shape)) {
    const index = strides.reduce((sum, stride, i) => sum + (axes.includes(i) ? 0 : stride * at(coordinates, i)), 0);
    data[index] = at(data, index) + at(values, flat++);
  }
  return { shape: keepDims ? kept : x.shape.filter((_, axis) => !axes.includes(axis)), data };
}

export function reduceMean(x: Tensor, axes: readonly number[], keepDims: boolean): Tensor {
  const count = countOf(axes.map((axis) => at(x.shape, axis)));
  const sum = reduceSum(x, axes, keepDims);
  return { shape: sum.shape, data: floatsOf(sum).map((value) => value / count) };
}
