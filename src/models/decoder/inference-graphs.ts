import { type Graph, GraphBuilder } from '../../graph/builder.ts';
import type { Value } from '../../graph/ops.ts';
import { multiplySizes, symbolSize } from '../../graph/size.ts';
import type { DecoderConfig } from '../decoder-config.ts';
import { declareModel, type ModelOptions } from './declare-model.ts';
import { samplerLogits, type TokenBans } from './sampler-logits.ts';
import { B, declareSharedPrefix, P, R } from './shared-prefix.ts';
import { createTrunk } from './trunk.ts';

/**
 * Forward over rows that share a prefix, for scoring: log-probs of given tokens under the sampler's distribution.
 * Inputs: shared prefix, targetIds [B, R], endBan [B, R]. Output: `tokenLogProb` [B, R].
 */
export function buildScoreGraph(options: ModelOptions & { readonly bans: TokenBans }): Graph {
  const g = new GraphBuilder();
  const trunk = createTrunk(declareModel(g, options, { differentiable: false }));
  const tokens = declareSharedPrefix(g, options.config);
  const BR = multiplySizes(B, R);
  const targetIds = g.input('targetIds', 'int64', [B, R]);
  const endBan = g.input('endBan', 'float32', [B, R]);
  const hidden = trunk.hidden(tokens.ids, tokens.positions, tokens.attend);
  const [, rowHidden] = g.split(hidden, 0, [P, BR]) as [Value, Value];
  const raw = trunk.logits(trunk.finalNorm(rowHidden));
  const logits = samplerLogits(g, raw, g.reshape(endBan, [BR]), options.bans);
  g.output('tokenLogProb', g.reshape(g.tokenLogProb(logits, g.reshape(targetIds, [BR])), [B, R]));
  return g.build();
}

/**
 * Forward over rows that share a prefix, for generation: logits of chosen positions and every layer's keys and values.
 * Inputs: shared prefix, `wanted` int64 [M] (indices into B*R). Outputs: `logits` [M, V] and, for layer l,
 * `prefixKey.l`, `prefixValue.l` [1, G, P, K], `rowKey.l`, `rowValue.l` [B, G, R, K].
 */
export function buildPrefillGraph(options: ModelOptions): Graph {
  const g = new GraphBuilder();
  const trunk = createTrunk(declareModel(g, options, { differentiable: false }));
  const tokens = declareSharedPrefix(g, options.config);
  const wanted = g.input('wanted', 'int64', [symbolSize('M')]);
  const hidden = trunk.hidden(tokens.ids, tokens.positions, tokens.attend);
  const [, rowHidden] = g.split(hidden, 0, [P, multiplySizes(B, R)]) as [Value, Value];
  g.output('logits', trunk.logits(trunk.finalNorm(g.embedding(rowHidden, wanted))));
  tokens.caches.forEach((cache, layer) => {
    for (const [name, value] of Object.entries(cache)) g.output(`${name}.${layer}`, value as Value);
  });
  return g.build();
}

/** Cache tensors need head widths of this multiple (a rule of the runtime's attention kernel). */
const CACHE_HEAD_MULTIPLE = 16;

/** Width of one head in the decode cache: K rounded up; the added columns are zero and change nothing. */
export function cacheHeadWidth(config: DecoderConfig): number {
  return Math.ceil(config.headWidth / CACHE_HEAD_MULTIPLE) * CACHE_HEAD_MULTIPLE;
}

/**
 * One new token a row with cached keys and values.
 * Inputs: `ids`, `positions` int64 [B], `last` int32 [B] (index of the new token in its row's cache), `total` int32 []
 * (longest row), `pastKey.l`, `pastValue.l` [B, G, S, K']. Outputs: `logits` [B, V], `presentKey.l`, `presentValue.l`:
 * give the past buffers as outputs too, and they are updated in place.
 */
export function buildDecodeGraph(options: ModelOptions): Graph {
  const g = new GraphBuilder();
  const { config } = options;
  const trunk = createTrunk(declareModel(g, options, { differentiable: false }));
  const ids = g.input('ids', 'int64', [B]);
  const positions = g.input('positions', 'int64', [B]);
  const last = g.input('last', 'int32', [B]);
  const total = g.input('total', 'int32', []);
  const width = cacheHeadWidth(config);
  const S = symbolSize('S');
  const present: { key: Value; value: Value }[] = [];
  const { headWidth: K, kvHeads, heads } = config;
  const padding = width - K;
  /** [B, heads*K] -> [B, 1, heads*K'] */
  const widen = (x: Value, count: number): Value => {
    if (padding === 0) return g.reshape(x, [B, 1, count * K]);
    const zeros = g.expand(g.reshape(g.scalar(0), [1, 1, 1]), [B, count, padding]);
    return g.reshape(g.concat([g.reshape(x, [B, count, K]), zeros], 2), [B, 1, count * width]);
  };
  const narrow = (x: Value): Value => {
    if (padding === 0) return g.reshape(x, [B, heads * K]);
    const [kept] = g.split(g.reshape(x, [B, heads, width]), 2, [K, padding]) as [Value, Value];
    return g.reshape(kept, [B, heads * K]);
  };
  const hidden = trunk.hidden(ids, positions, (layer, q, k, v) => {
    const pastKey = g.input(`pastKey.${layer}`, 'float32', [B, kvHeads, S, width]);
    const pastValue = g.input(`pastValue.${layer}`, 'float32', [B, kvHeads, S, width]);
    const [y, key, value] = g.apply({ kind: 'cachedAttention', heads, kvHeads, scale: 1 / Math.sqrt(K) }, [
      widen(q, heads),
      widen(k, kvHeads),
      widen(v, kvHeads),
      pastKey,
      pastValue,
      last,
      total,
    ]) as [Value, Value, Value];
    present.push({ key, value });
    return narrow(y);
  });
  g.output('logits', trunk.logits(trunk.finalNorm(hidden)));
  present.forEach(({ key, value }, layer) => {
    g.output(`presentKey.${layer}`, key);
    g.output(`presentValue.${layer}`, value);
  });
  return g.build();
}
