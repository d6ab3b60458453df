import type { Tensor } from 'onnxruntime-node';
import { latePackage } from '../../base/late-package.ts';

/** ONNX Runtime, loaded by whoever computes first. */
export const onnxRuntime = latePackage<typeof import('onnxruntime-node')>('onnxruntime-node');

/** A float32 tensor over `data`, not copied. */
export function float32Tensor(data: Float32Array, shape: readonly number[]): Tensor {
  return new (onnxRuntime().Tensor)('float32', data, shape);
}

export function int64Tensor(values: ArrayLike<number>, shape: readonly number[]): Tensor {
  const data = new BigInt64Array(values.length);
  for (let i = 0; i < values.length; i++) data[i] = BigInt(values[i] as number);
  return new (onnxRuntime().Tensor)('int64', data, shape);
}

export function int32Tensor(values: ArrayLike<number>, shape: readonly number[]): Tensor {
  return new (onnxRuntime().Tensor)('int32', Int32Array.from(values), shape);
}

export function scalarTensor(value: number): Tensor {
  return new (onnxRuntime().Tensor)('float32', Float32Array.of(value), []);
}

/** The tensor's float32 data. */
export function float32Data(tensor: Tensor | undefined): Float32Array {
  if (tensor === undefined || tensor.type !== 'float32')
    throw new TypeError(`expected a float32 tensor, got ${tensor?.type}`);
  return tensor.data as Float32Array;
}
