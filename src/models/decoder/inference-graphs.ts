import path from 'node:path';
import { type Graph, GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { multiplySizes, symbolSize } from '../../engine/graph/size.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { attentionScale, attentionWindow, isWindowed } from './attention-window.ts';
import { declareModel, type ModelOptions } from './declare-model.ts';
import { B, declareSharedPrefix, P, R } from './shared-prefix.ts';
import { createTrunk } from './trunk.ts';

/**
 * Forward over rows that share a prefix, for generation and scoring: logits of chosen positions and every layer's keys and values.
 * Inputs: shared prefix, `wanted` int64 [M] (indices into B*R). Outputs: `logits` [M, V] and, for layer l,
 * `prefixKey.l`, `prefixValue.l` [1, G, P, K], `rowKey.l`, `rowValue.l` [B, G, R, K].
 */
export function buildPrefillGraph(options: ModelOptions): Graph {
  const g = new GraphBuilder();
  const trunk = createTrunk(declareModel(g, options, { differentiable: false }));
  const tokens = declareSharedPrefix(g, options.config, options.contextTokens);
  const wanted = g.input('wanted', 'int64', [symbolSize('M')]);
  const hidden = trunk.hidden(tokens.ids, tokens.positions, tokens.attend);
  const [, rowHidden] = g.split(hidden, 0, [P, multiplySizes(B, R)]) as [Value, Value];
  g.output('logits', trunk.logits(trunk.finalNorm(g.embedding(rowHidden, wanted))));
  tokens.caches.forEach((cache, layer) => {
    for (const [name, value] of Object.entries(cache)) g.output(`${name}.${layer}`, value as Value);
  });
  return g.build();
}

/**
 * Opens the session of `buildPrefillGraph`. In fp32 it keeps no repacked copy of the weights: its matmuls are tall. An
 * int8 copy is small, and repacking it at each run takes as long as the product.
 * @throws as `openSession`.
 */
export async function openPrefillSession(options: ModelOptions, compute: ComputeOptions): Promise<GraphSession> {
  return openSession(buildPrefillGraph(options), {
    ...compute,
    label: `prefill ${path.basename(options.weights.path)}`,
    weightFolder: path.dirname(options.weights.path),
    prepack: options.int8 !== undefined,
  });
}

/**
 * One new token for each row. Attention has three parts: the shared prefix, stored once for all rows; the row's own
 * past; and the token itself. The caller keeps the cache: the graph reads past keys in place and outputs only the new
 * token's key and value. The runtime's Node binding copies every output, so it would copy a whole cache.
 *
 * Inputs: `ids`, `positions` int64 [B]; `pastMask` [B, S] (0 where the row has a token, very negative elsewhere);
 * `prefixKey.l`, `prefixValue.l` [1, G, P, K]; `pastKey.l`, `pastValue.l` [B, G, S, K]. Where a window of tokens is
 * shorter than the context, also `localPrefixMask` [B, P] and `localPastMask` [B, S] for the layers that it limits.
 * With `masksPrefix` also `prefixMask` [P], for devices on which an empty prefix is a hidden token (`withFilledPrefix`).
 * Outputs: `logits` [B, V], `newKey.l`, `newValue.l` [B, G, 1, K].
 */
export function buildDecodeGraph(options: ModelOptions, { masksPrefix = false } = {}): Graph {
  const g = new GraphBuilder();
  const { headWidth: K, kvHeads: G, heads: H, layers } = options.config;
  const trunk = createTrunk(declareModel(g, options, { differentiable: false }));
  const S = symbolSize('S');
  const ids = g.input('ids', 'int64', [B]);
  const positions = g.input('positions', 'int64', [B]);
  const mask = g.reshape(g.input('pastMask', 'float32', [B, S]), [B, 1, 1, S]);
  const local =
    attentionWindow(options.config, options.contextTokens) === undefined
      ? undefined
      : {
          prefix: g.reshape(g.input('localPrefixMask', 'float32', [B, P]), [B, 1, 1, P]),
          past: g.reshape(g.input('localPastMask', 'float32', [B, S]), [B, 1, 1, S]),
        };
  const prefixMask = masksPrefix ? g.input('prefixMask', 'float32', [P]) : undefined;
  const fresh: { key: Value; value: Value }[] = [];
  const scale = attentionScale(options.config);
  const hidden = trunk.hidden(ids, positions, (layer, q, k, v) => {
    const prefixKey = g.input(`prefixKey.${layer}`, 'float32', [1, G, P, K]);
    const prefixValue = g.input(`prefixValue.${layer}`, 'float32', [1, G, P, K]);
    const pastKey = g.input(`pastKey.${layer}`, 'float32', [B, G, S, K]);
    const pastValue = g.input(`pastValue.${layer}`, 'float32', [B, G, S, K]);
    const query = g.reshape(q, [B, G, H / G, K]);
    const key = g.reshape(k, [B, G, 1, K]);
    const value = g.reshape(v, [B, G, 1, K]);
    fresh.push({ key, value });
    const scores = (keys: Value): Value => g.matmul(query, keys, { transposeB: true, scale }); // [B, G, H/G, keys]
    const window = isWindowed(options.config, layer) ? local : undefined;
    const masks = [prefixMask, window?.prefix].filter((prefix) => prefix !== undefined);
    const onPrefixKeys = masks.reduce((sum, prefix) => g.add(sum, prefix), scores(prefixKey));
    const onPastKeys = g.add(scores(pastKey), window?.past ?? mask);
    const weights = g.softmax(g.concat([onPrefixKeys, onPastKeys, scores(key)], 3));
    const [onPrefix, onPast, onNew] = g.split(weights, 3, [P, S, 1]) as [Value, Value, Value];
    const mixed = g.add(g.matmul(onPrefix, prefixValue), g.matmul(onPast, pastValue));
    return g.reshape(g.add(mixed, g.multiply(onNew, value)), [B, H * K]);
  });
  g.output('logits', trunk.logits(trunk.finalNorm(hidden)));
  for (let layer = 0; layer < layers; layer++) {
    g.output(`newKey.${layer}`, fresh[layer]?.key as Value);
    g.output(`newValue.${layer}`, fresh[layer]?.value as Value);
  }
  return g.build();
}
