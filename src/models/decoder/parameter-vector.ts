import type { Tensor } from 'onnxruntime-node';
import { FloodgateError } from '../../base/errors.ts';
import { randomStream } from '../../base/random.ts';
import { float32Tensor } from '../../engine/runtime/tensors.ts';
import { openRandomAccessFile } from '../formats/random-access-file.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import type { ParameterSpec } from './lora.ts';

/** Named tensors lying one after another in one flat float32 vector, so that the optimizer sees one array. */
export interface ParameterVector {
  readonly specs: readonly ParameterSpec[];
  readonly data: Float32Array;
  /** Tensors over the vector's own memory, by name: a change of `data` is what the next run sees. */
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/** A vector of zeros for `specs`. */
export function zeroParameters(specs: readonly ParameterSpec[]): ParameterVector {
  const sizes = specs.map(({ shape }) => shape.reduce((count, size) => count * size, 1));
  const data = new Float32Array(sizes.reduce((sum, size) => sum + size, 0));
  const tensors: Record<string, Tensor> = {};
  let offset = 0;
  specs.forEach(({ name, shape }, i) => {
    const size = sizes[i] as number;
    tensors[name] = float32Tensor(data.subarray(offset, offset + size), shape);
    offset += size;
  });
  return { specs, data, tensors };
}

/** The part of the vector that holds one tensor. @throws FloodgateError `model` for an unknown name. */
export function parameterView(vector: ParameterVector, name: string): Float32Array {
  const tensor = vector.tensors[name];
  if (tensor === undefined) throw new FloodgateError('model', `read parameters: there is no tensor ${name}`);
  return tensor.data as Float32Array;
}

/** Starts every tensor as its spec says, from the seed's own stream for that name. */
export function initialiseParameters(vector: ParameterVector, seed: number): void {
  for (const { name, shape, init } of vector.specs) {
    if (init === 'zeros') continue;
    const bound = 1 / Math.sqrt(shape.at(-1) as number);
    const stream = randomStream(seed, 'parameters', name);
    const view = parameterView(vector, name);
    for (let i = 0; i < view.length; i++) view[i] = (2 * stream.nextFloat() - 1) * bound;
  }
}

/**
 * Starts a vector of every weight from the model's own file.
 *
 * @throws FloodgateError `model` when a tensor is missing or of another size.
 */
export async function loadStoredWeights(weights: WeightStore, vector: ParameterVector): Promise<void> {
  await using file = await openRandomAccessFile(weights.path);
  for (const { name } of vector.specs) {
    const entry = weights.tensors.get(name);
    if (entry === undefined) continue; // a head that the objective adds, such as log Z, starts at zero
    const view = parameterView(vector, name);
    const bytes = await file.read(entry.offset, entry.byteLength);
    if (bytes.byteLength !== view.byteLength) {
      throw new FloodgateError(
        'model',
        `load weights: ${name} has ${bytes.byteLength} bytes, expected ${view.byteLength}`,
      );
    }
    new Uint8Array(view.buffer, view.byteOffset, view.byteLength).set(bytes);
  }
}
