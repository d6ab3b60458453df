import path from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { type ParameterVector, parameterView } from '../../engine/optimizer/flat-parameters.ts';
import { openRandomAccessFile } from '../formats/random-access-file.ts';
import type { WeightStore } from '../formats/weight-store.ts';

/** Source of a graph's weights, by `transformers` name. */
export interface WeightSource {
  get(name: string): Value;
  has(name: string): boolean;
}

/** Frozen weights, mapped from the weight file. Each becomes an initializer at its first use. */
export function frozenWeights(g: GraphBuilder, store: WeightStore): WeightSource {
  const known = new Map<string, Value>();
  return {
    has: (name) => store.tensors.has(name),
    get: (name) => {
      const before = known.get(name);
      if (before !== undefined) return before;
      const entry = store.tensors.get(name);
      if (entry === undefined) throw new FloodgateError('model', `load weights: ${store.path} has no tensor ${name}`);
      const { shape, offset, byteLength } = entry;
      const value = g.externalWeight(name, shape, { location: path.basename(store.path), offset, byteLength });
      known.set(name, value);
      return value;
    },
  };
}

/** Every weight as a graph input: for full-parameter training, and for sampling from a model in training. */
export function inputWeights(g: GraphBuilder, store: WeightStore, trainable: boolean): WeightSource {
  const inputs = new Map<string, Value>();
  for (const [name, { shape }] of store.tensors) inputs.set(name, g.input(name, 'float32', shape, { trainable }));
  return {
    has: (name) => inputs.has(name),
    get: (name) => {
      const value = inputs.get(name);
      if (value === undefined) throw new FloodgateError('model', `load weights: ${store.path} has no tensor ${name}`);
      return value;
    },
  };
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
