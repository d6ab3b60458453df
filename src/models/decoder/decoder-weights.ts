import path from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import type { WeightStore } from '../formats/weight-store.ts';

/** Where a decoder graph's weights come from, by `transformers` name. */
export interface WeightSource {
  get(name: string): Value;
  has(name: string): boolean;
}

/** Frozen weights read from the weight file as it lies; each becomes an initializer when first asked for. */
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

/** Every weight as a graph input: for full-parameter training, and for sampling from what it trains. */
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
