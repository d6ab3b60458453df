import { append } from '../../base/long-lists.ts';
/** A tensor of the reference interpreter: float dtypes as float64, integer dtypes as int64. Row-major. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float64Array | BigInt64Array;
}

export function countOf(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

export function floatTensor(shape: readonly number[], data: Iterable<number>): Tensor {
  return { shape, data: Float64Array.from(data) };
}

export function integerTensor(shape: readonly number[], data: Iterable<number>): Tensor {
  return { shape, data: BigInt64Array.from([...data].map(BigInt)) };
}

/** The numbers of a float tensor, not copied. */
export function floatsOf(tensor: Tensor | undefined): Float64Array {
  if (!(tensor?.data instanceof Float64Array)) throw new TypeError('expected a float tensor');
  return tensor.data;
}

/** The numbers of an integer tensor. */
export function integersOf(tensor: Tensor | undefined): number[] {
  if (!(tensor?.data instanceof BigInt64Array)) throw new TypeError('expected an integer tensor');
  return Array.from(tensor.data, Number);
}

export function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, axis) => countOf(shape.slice(axis + 1)));
}

/** Coordinates of every element of `shape`, row-major. */
export function* coordinatesOf(shape: readonly number[]): Generator<number[]> {
  const count = countOf(shape);
  const strides = stridesOf(shape);
  for (let flat = 0; flat < count; flat++) {
    yield shape.map((size, axis) => Math.floor(flat / (strides[axis] as number)) % size);
  }
}

/** For each element of `to`, the flat index of the element of `from` that numpy broadcasting puts there. */
export function broadcastIndices(from: readonly number[], to: readonly number[]): Int32Array {
  if (from.length === to.length && from.every((size, axis) => size === to[axis])) {
    return Int32Array.from({ length: countOf(to) }, (_, i) => i);
  }
  const offset = to.length - from.length;
  const strides = stridesOf(from).map((stride, axis) => (from[axis] === 1 ? 0 : stride));
  const indices = new Int32Array(countOf(to));
  let flat = 0;
  for (const coordinates of coordinatesOf(to)) {
    indices[flat++] = strides.reduce((sum, stride, axis) => sum + stride * (coordinates[offset + axis] as number), 0);
  }
  return indices;
}

/** Applies `rule` to each row of the last axis. */
export function mapRows(x: Tensor, rule: (row: Float64Array, rowIndex: number) => Iterable<number>): Tensor {
  const width = x.shape.at(-1) ?? 1;
  const data = floatsOf(x);
  const result = new Float64Array(data.length);
  for (let row = 0; row * width < data.length; row++) {
    result.set(Float64Array.from(rule(data.subarray(row * width, (row + 1) * width), row)), row * width);
  }
  return { shape: x.shape, data: result };
}

export function at(data: ArrayLike<number>, index: number): number {
  const value = data[index];
  if (value === undefined) throw new RangeError(`index ${index} outside 0..${data.length - 1}`);
  return value;
}

export function sumOf(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

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
      append(chunks, part.data.subarray(row * width, (row + 1) * width));
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
