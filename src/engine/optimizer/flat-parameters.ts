import type { Tensor } from 'onnxruntime-node';
import { FloodgateError } from '../../base/errors.ts';
import { randomStream } from '../../base/random.ts';
import { float32Tensor } from '../runtime/tensors.ts';

/** A trained tensor: its name in checkpoints, its shape, and how it starts. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  /** `kaiming`: U(-1/sqrt(in), 1/sqrt(in)) with `in` the last axis, the default of PyTorch's linear layers (He et al. 2015). */
  readonly init: 'zeros' | 'ones' | 'kaiming';
}

/** Named tensors, one after another in one flat float32 vector, so that the optimizer sees one array. */
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
    const view = parameterView(vector, name);
    if (init === 'ones') {
      view.fill(1);
      continue;
    }
    const bound = 1 / Math.sqrt(shape.at(-1) as number);
    const stream = randomStream(seed, 'parameters', name);
    for (let i = 0; i < view.length; i++) view[i] = (2 * stream.nextFloat() - 1) * bound;
  }
}
