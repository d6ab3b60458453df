import type { OpOf } from '../../src/graph/ops.ts';
import { softmax } from './reference-network.ts';
import { at, floatsOf, integersOf, sumOf, type Tensor } from './tensor.ts';

/**
 * Grouped-query attention of one new token a row over a cache, from its definition: row b's key and value are stored
 * at position `last[b]`, and its query attends to positions 0..last[b].
 */
export function cachedAttention(op: OpOf<'cachedAttention'>, inputs: readonly Tensor[]): Tensor[] {
  const [query, key, value, pastKey, pastValue, lastIndex] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
  const width = at(query.shape, 2) / op.heads;
  const capacity = at(pastKey.shape, 2);
  const presentKey = floatsOf(pastKey).slice();
  const presentValue = floatsOf(pastValue).slice();
  const y = new Float64Array(floatsOf(query).length);
  integersOf(lastIndex).forEach((last, row) => {
    const cacheStart = (kvHead: number, position: number): number =>
      ((row * op.kvHeads + kvHead) * capacity + position) * width;
    for (let kvHead = 0; kvHead < op.kvHeads; kvHead++) {
      const start = (row * op.kvHeads + kvHead) * width;
      presentKey.set(floatsOf(key).subarray(start, start + width), cacheStart(kvHead, last));
      presentValue.set(floatsOf(value).subarray(start, start + width), cacheStart(kvHead, last));
    }
    for (let head = 0; head < op.heads; head++) {
      const kvHead = Math.floor(head / (op.heads / op.kvHeads));
      const start = (row * op.heads + head) * width;
      const places = Array.from({ length: last + 1 }, (_, position) => cacheStart(kvHead, position));
      const dot = (place: number): number =>
        sumOf(Array.from({ length: width }, (_, i) => at(floatsOf(query), start + i) * at(presentKey, place + i)));
      const scores = places.map((place) => op.scale * dot(place));
      const weights = floatsOf(softmax({ shape: [scores.length], data: Float64Array.from(scores) }));
      for (let i = 0; i < width; i++) {
        y[start + i] = sumOf(places.map((place, p) => at(weights, p) * at(presentValue, place + i)));
      }
    }
  });
  return [
    { shape: query.shape, data: y },
    { shape: pastKey.shape, data: presentKey },
    { shape: pastValue.shape, data: presentValue },
  ];
}
