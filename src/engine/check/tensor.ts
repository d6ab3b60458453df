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
